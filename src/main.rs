//! The binary: install what is process-wide, parse the command line, run.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    canhbao::auth::install_crypto_provider();
    // An error says only that a provider is installed already, and aws-lc-rs is the only one in the tree.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    canhbao::cli::run()
}

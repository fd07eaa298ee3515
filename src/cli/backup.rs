//! `backup`, `restore` and `log rotate-key`. A copy counts only once its log was verified; nothing is ever overwritten.

use super::audit::progress_bar;
use super::stored::verify_database;
use super::verify::read_kept;
use super::{Failure, StoreArgs, figures, run};
use crate::config::Config;
use crate::log::Reach;
use crate::log::verify::Report;
use crate::server::{self, Copy, DATABASE_FILE, Home};
use crate::store::sqlite::SqliteStore;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct BackupArgs {
    /// The data directory; it may be served meanwhile.
    #[arg(long, env = "CANHBAO_DATA")]
    data: PathBuf,
    /// The directory to make. It will hold the keys too: keep it as safe as the data directory itself.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A checkpoint that was kept elsewhere: the backup must meet it.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
}

#[derive(Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The data directory to make.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A checkpoint that was kept elsewhere: the backup must meet it.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
}

#[derive(Args)]
pub struct RotateKeyArgs {
    /// The data directory.
    #[arg(long, env = "CANHBAO_DATA")]
    data: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

pub fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let copy = copy(&args.data, &args.to)?;
    for damaged in figures::damaged(&copy.figures) {
        eprintln!("canhbao: not copied: {damaged}");
    }
    let (report, reaches) = verify(&args.to, &args.checkpoints)?;
    copy.finish()?;
    println!("backed up: {}", args.to.display());
    tell(&report, &reaches);
    Ok(())
}

pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    if !Home::exists(&args.from) {
        return Err(Failure::Said(format!("{} is no finished backup", args.from.display())));
    }
    verify(&args.from, &args.checkpoints)?;
    let copy = copy(&args.from, &args.to)?;
    let (report, reaches) = verify(&args.to, &args.checkpoints)?;
    copy.finish()?;
    println!("restored: {}", args.to.display());
    tell(&report, &reaches);
    let latest = report.latest.map(|latest| format!(", of {latest}")).unwrap_or_default();
    println!("the backup ends before log entry {}{latest}", report.size);
    println!("what was logged after that is lost; a checkpoint that somebody kept since then will tell");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<Copy, Failure> {
    let bar = progress_bar(0, "{human_pos} of {human_len} pages");
    let copy = Copy::make(from, to, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let copy = copy?;
    for path in &copy.elsewhere {
        eprintln!("canhbao: not copied, since it lies elsewhere or is not there: {}", path.display());
    }
    Ok(copy)
}

/// The log, with the keys that lie in the directory itself, and the figures beside it.
fn verify(data: &Path, checkpoints: &[PathBuf]) -> Result<(Report, Vec<Reach>), Failure> {
    let config = Config::read(data)?.checked()?;
    let keys = server::log_keys(data, &config.node)?;
    let report = verify_database(&data.join(DATABASE_FILE), &[], &keys, read_kept(checkpoints)?)?;
    let reaches = server::figures(data)?;
    match figures::damaged(&reaches).first() {
        None => Ok((report, reaches)),
        Some(damaged) => {
            let search = SqliteStore::search_of(&data.join(DATABASE_FILE));
            let words = "without that file it is taken, and statistics then begin after the archives";
            Err(Failure::Said(format!("{}: {damaged}; {words}", search.display())))
        }
    }
}

fn tell(report: &Report, reaches: &[Reach]) {
    println!("entries: {} to before {}", report.start, report.size);
    println!("root: {}", BASE64.encode(report.root));
    println!("checkpoints met: {} of the log, {} given", report.checkpoints, report.kept);
    figures::tell(reaches);
}

pub fn rotate_key(args: &RotateKeyArgs) -> Result<(), Failure> {
    let config = args.store.over(Config::read(&args.data)?).checked()?;
    let home = Home::open(&args.data)?;
    println!("{}", home.rotate_log_key(&config, run::now())?);
    Ok(())
}

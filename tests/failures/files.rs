//! Files that are wrong when a server starts: it says which one and what to do, shows nothing of it, and does not start.

use crate::support::Server;
use crate::support::process::{BINARY, Ended};
use crate::tools::{canhbao, refused};
use crate::{FLAGS, about};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pieces of a secret that are longer than this occur in a message only if the secret is shown.
const PIECE_CHARS: usize = 12;
const KEY_FILES: [&str; 3] = ["keys/token-signing.pem", "keys/pepper.hex", "tls/server.key"];

#[tokio::test]
async fn a_second_process_on_a_directory_is_refused_and_the_first_keeps_answering() {
    let server = Server::start_with(FLAGS).await;
    for _ in 0..2 {
        let ended = refused(server.serve()).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended}");
        let told = ended.stderr.lines().last().unwrap();
        let directory = server.data();
        assert!(told.contains(directory.to_str().unwrap()) && told.contains("in use by another process"), "{told}");
        let check = server.post("/v1/checks").by("bank").json(&about("9000000000003")).send().await.is(200);
        assert_eq!(check.json()["verdict"], "block");
    }
    server.finish().await;
}

/// A directory that `init` has made.
struct Home(tempfile::TempDir);

impl Home {
    fn init() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        canhbao(&["init", home.data().to_str().unwrap(), "--self-signed", "127.0.0.1"]);
        home
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("registry")
    }

    /// How `serve` ends, which must be with 1 and words about this file.
    async fn refused_for(&self, file: &Path) -> Ended {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--data").arg(self.data());
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
        let ended = refused(command).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}: {ended}", file.display());
        // A fault in TOML is shown on the lines that follow.
        let told = ended.stderr.lines().find(|line| line.starts_with("canhbao: ")).unwrap();
        assert!(told.contains(file.to_str().unwrap()), "{}: {ended}", file.display());
        ended
    }
}

/// Fails if a message has a piece of a secret file.
fn assert_not_shown(ended: &Ended, text: &str) {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    for piece in lines.flat_map(|line| line.as_bytes().chunks_exact(PIECE_CHARS)) {
        let piece = std::str::from_utf8(piece).unwrap();
        assert!(!ended.to_string().contains(piece), "{piece} is shown: {ended}");
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
    let (home, other) = (Home::init(), Home::init());
    let previous = home.data().join("keys/token-signing.previous.pem");
    fs::copy(other.data().join("keys/token-signing.pem"), &previous).unwrap();
    let files = KEY_FILES.map(|file| home.data().join(file));
    for file in files.iter().chain([&previous]) {
        for mode in [0o644, 0o640, 0o604] {
            fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
            let ended = home.refused_for(file).await;
            assert!(ended.stderr.contains(&format!("chmod 600 {}", file.display())), "{ended}");
            assert!(ended.stderr.contains(&format!("{mode:04o}")), "{ended}");
            assert_not_shown(&ended, &fs::read_to_string(file).unwrap());
        }
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn a_missing_or_garbled_key_is_refused_and_not_shown() {
    let home = Home::init();
    for file in KEY_FILES.map(|file| home.data().join(file)) {
        let good = fs::read_to_string(&file).unwrap();
        // Written over, so that the mode stays.
        let mut garbled = good.clone();
        garbled.replace_range(40..41, if &good[40..41] == "7" { "6" } else { "7" });
        let without_end: String = good.chars().take(good.len() / 2).collect();
        let other = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n".to_owned();
        for text in [without_end, garbled.replace(['A', 'a'], "!"), other, "\n".to_owned()] {
            fs::write(&file, &text).unwrap();
            assert_not_shown(&home.refused_for(&file).await, &text);
        }
        fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
        home.refused_for(&file).await;
        fs::remove_file(&file).unwrap();
        home.refused_for(&file).await;
        fs::create_dir(&file).unwrap();
        home.refused_for(&file).await;
        fs::remove_dir(&file).unwrap();
        fs::write(&file, &good).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_missing_garbled_or_of_another_key_is_refused() {
    let home = Home::init();
    let file = home.data().join("tls/server.pem");
    let good = fs::read_to_string(&file).unwrap();
    for text in ["", "no certificate\n", &good[..good.len() / 2]] {
        fs::write(&file, text).unwrap();
        home.refused_for(&file).await;
    }
    fs::remove_file(&file).unwrap();
    home.refused_for(&file).await;
    let other = Home::init();
    fs::copy(other.data().join("tls/server.pem"), &file).unwrap();
    home.refused_for(&home.data().join("tls/server.key")).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_refused() {
    let home = Home::init();
    let file = home.data().join("canhbao.toml");
    let good = fs::read_to_string(&file).unwrap();
    let texts: [Vec<u8>; 4] = [
        good.replacen('=', "", 1).into(),
        format!("{good}\n[limits]\n").into(),
        vec![0xff, 0xfe],
        b"[[limits]]\n".into(),
    ];
    for text in texts {
        fs::write(&file, &text).unwrap();
        home.refused_for(&file).await;
    }
    let banks = home.data().join("banks.csv");
    fs::write(&file, format!("bank_directory = \"banks.csv\"\n{good}")).unwrap();
    home.refused_for(&banks).await;
    fs::write(&banks, "bin,code\n970436,VCB\n").unwrap();
    home.refused_for(&banks).await;
}

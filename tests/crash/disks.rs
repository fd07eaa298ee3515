//! Small disks, limits and images that a test may break. Nothing here may outlive its test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The same command in a shell that first limits how large a file may grow. The signal is ignored, so that a write fails.
pub fn with_file_limit(command: &Command, kib: u64) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""), "bash"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// A directory that was moved onto a small disk of its own.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` if this user may not mount.
    pub fn under(directory: &Path, mib: u64) -> Option<Self> {
        let aside = directory.with_extension("aside");
        std::fs::rename(directory, &aside).unwrap();
        std::fs::create_dir(directory).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"])
            .arg(directory)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            std::fs::remove_dir(directory).unwrap();
            std::fs::rename(&aside, directory).unwrap();
            return None;
        }
        let disk = Self(directory.to_owned());
        let copied = Command::new("cp").arg("-aT").arg(&aside).arg(directory).status().unwrap();
        assert!(copied.success());
        Some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
        std::fs::remove_dir_all(self.0.parent().unwrap()).ok();
    }
}

/// A directory that was moved into a file system of its own, which is kept in a file. What the file holds is what a disk
/// would hold: pages that nobody has synchronised are in the kernel alone.
pub struct Image {
    file: PathBuf,
    directory: PathBuf,
}

impl Image {
    /// `None` if this user may not mount, or there are no loop devices.
    pub fn under(directory: &Path, mib: u64) -> Option<Self> {
        let (file, aside) = (directory.with_extension("image"), directory.with_extension("aside"));
        std::fs::File::create(&file).unwrap().set_len(mib * 1024 * 1024).unwrap();
        // Nothing is left to be written later by the kernel of its own accord.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", options]).arg(&file));
        std::fs::rename(directory, &aside).unwrap();
        std::fs::create_dir(directory).unwrap();
        let image = Self { file, directory: directory.to_owned() };
        if !image.mount() {
            std::fs::remove_dir(directory).unwrap();
            std::fs::rename(&aside, directory).unwrap();
            return None;
        }
        run(Command::new("cp").arg("-aT").arg(&aside).arg(directory));
        run(Command::new("chmod").arg("0700").arg(directory));
        run(Command::new("sync").arg("-f").arg(directory));
        Some(image)
    }

    /// The journal's own timer is far off, so that what is on the disk is what the server has asked for.
    fn mount(&self) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "ext4", "-o", "loop,commit=300"]).arg(&self.file).arg(&self.directory);
        command.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Keeps what the disk holds at this moment. Nobody may be writing.
    pub fn copy(&self) {
        run(Command::new("cp").arg("--sparse=always").arg(&self.file).arg(self.kept()));
    }

    /// The power was cut when `copy` was made, and now it is there again.
    pub fn go_back_to_copy(&self) {
        run(Command::new("umount").arg(&self.directory));
        std::fs::rename(self.kept(), &self.file).unwrap();
        assert!(self.mount(), "after a power cut the disk cannot be mounted");
    }

    fn kept(&self) -> PathBuf {
        self.file.with_extension("kept")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.directory).status().ok();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

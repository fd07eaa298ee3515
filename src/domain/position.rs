//! Where an entry stands: the log of which node, and the index in it. On the wire `main/123456`.

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The own node's name is borrowed for ever: a shared count of its users would be the most contended word of all.
    pub node: Cow<'static, str>,
    pub index: u64,
}

impl LogPosition {
    /// What `Display` shows. Every answer holds one, so it is put together without `format!`.
    pub fn text(&self) -> String {
        [&self.node, "/", itoa::Buffer::new().format(self.index)].concat()
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for LogPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

//! Where an entry stands: the log of which node, and the index in it. On the wire `main/123456`. Places in several logs, one
//! in each, are joined by commas.

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

/// At most one place in each log, in no order that means anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPositions(Vec<LogPosition>);

impl LogPositions {
    /// `None` if a node is named twice.
    pub fn new(places: Vec<LogPosition>) -> Option<Self> {
        let once = |place: &LogPosition| places.iter().filter(|other| other.node == place.node).count() == 1;
        if places.iter().all(once) { Some(Self(places)) } else { None }
    }

    /// The index in the log of a node.
    pub fn of(&self, node: &str) -> Option<u64> {
        self.0.iter().find(|place| place.node == node).map(|place| place.index)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|place| place.node.as_ref())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for LogPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, place) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "," };
            write!(f, "{separator}{place}")?;
        }
        Ok(())
    }
}

impl Serialize for LogPositions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

//! Puts committed changes into memory, each once and none before its predecessors, whoever brings them: the own log's writer
//! at once, the follower soon after another node made them.

use crate::auth::Access;
use crate::domain::{Change, Made};
use crate::index::Index;
use crate::log::Publish;
use crate::register::Register;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Publisher {
    index: Arc<Index>,
    access: Arc<Access>,
    register: Arc<Register>,
    /// Held while changes are put in.
    turn: Mutex<()>,
}

impl Publisher {
    pub(super) fn new(index: Arc<Index>, access: Arc<Access>, register: Arc<Register>) -> Self {
        Self { index, access, register, turn: Mutex::default() }
    }

    pub(super) fn known(&self) -> u64 {
        self.index.list_version()
    }

    /// `changes` are all up to `version` but for some that are known already.
    pub(super) fn publish(&self, mut changes: Vec<Made>, version: u64) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        if version <= known {
            return;
        }
        changes.retain(|made| made.number > known);
        let new: Vec<&Change> = changes.iter().map(|made| &made.change).collect();
        self.access.publish(&new);
        self.index.publish(&new, version);
        self.register.tell(changes, version);
    }

    /// Each node lets a client have its part of a quota.
    pub(super) fn share_quotas(&self, nodes: u64) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.access.share_quotas(nodes);
    }
}

impl Publish for Arc<Publisher> {
    fn known(&self) -> u64 {
        Publisher::known(self)
    }

    fn publish(&mut self, changes: Vec<Made>, version: u64) {
        Publisher::publish(self, changes, version);
    }
}

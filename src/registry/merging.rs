//! Merging near-duplicates: one flag is kept, the others end, in one step with one entry that names them all.

use super::flag_view::FlagView;
use super::flags::etag;
use super::{Answered, Call, Error, Registry, render};
use crate::domain::{Change, Flag, FlagId, MergeError, Merging, ObjectionId, Place, Replaces, Standing};
use crate::log::{Act, FlagVersion};
use crate::store;

const ONLY_OWNERS_MERGE: &str = "The owning unit of each flag and those above it may merge them.";

/// A flag in the version that the caller has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRead {
    pub id: FlagId,
    pub version: u32,
}

impl Registry {
    /// The answer is the flag that is kept.
    pub async fn merge_flags(
        &self,
        call: &Call,
        keep: VersionRead,
        merge: Vec<VersionRead>,
        reason: String,
    ) -> Result<Answered, Error> {
        let kept = self.flag_to_merge(call, keep).await?;
        let mut others = Vec::new();
        for read in &merge {
            others.push(self.flag_to_merge(call, *read).await?);
        }
        let Merging { kept, ended } = kept.merge(&others, &call.actor, &reason, call.at)?;
        self.must_not_be_objected_to(&merge).await?;
        let body = render(&FlagView::new(&kept, call.at))?;
        let mut entry = self.flag_entry(Act::FlagMerge, call, &kept);
        let versions = ended.iter().map(|flag| FlagVersion { id: flag.id, version: flag.version });
        entry.subjects.iter_mut().for_each(|subject| subject.flags.extend(versions.clone()));
        let etag = etag(kept.version);
        let read = std::iter::once(keep).chain(merge);
        let changes = read
            .zip(std::iter::once(kept).chain(ended))
            .map(|(read, flag)| Change::Flag { replaces: Replaces::Version(read.version), flag: Box::new(flag) });
        self.answer_changing(entry, Change::Together(changes.collect()), body, etag).await
    }

    async fn flag_to_merge(&self, call: &Call, read: VersionRead) -> Result<Flag, Error> {
        let flag = self.seen_flag(call, read.id).await?;
        match self.standing(call, &flag) {
            Standing::Owning | Standing::Deciding if flag.version == read.version => Ok(flag),
            Standing::Owning | Standing::Deciding => Err(Error::StaleVersion),
            Standing::None | Standing::Coordinating => Err(self.forbid(call, ONLY_OWNERS_MERGE).await),
        }
    }

    /// A bank waits for an answer about the very flag that would end.
    async fn must_not_be_objected_to(&self, merge: &[VersionRead]) -> Result<(), Error> {
        for (place, read) in merge.iter().enumerate() {
            let id = read.id;
            let open = self.read(move |connection| store::objections::open_to(connection, id)).await?;
            if let Some(objection) = open {
                return Err(objected(Place::Merged(place), objection));
            }
        }
        Ok(())
    }
}

fn objected(place: Place, objection: ObjectionId) -> Error {
    Error::InvalidTransition(format!("{place}: {objection} is open; uphold or dismiss it first"))
}

impl From<MergeError> for Error {
    fn from(error: MergeError) -> Self {
        Self::InvalidTransition(error.to_string())
    }
}

//! `/v1/flags/merge`.

use super::body::{Unread, WORK_BYTES_MAX};
use super::caller::{Caller, FlagWrite};
use super::problem::Problem;
use super::{rendered, text};
use crate::domain::strict::{Object, object};
use crate::domain::{FlagId, MERGED_AT_ONCE_MAX};
use crate::registry::{Registry, VersionRead};
use actix_web::HttpResponse;
use serde::Deserialize;
use std::num::NonZeroU32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MergeBody {
    #[serde(deserialize_with = "object")]
    keep: VersionBody,
    merge: Vec<Object<VersionBody>>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionBody {
    id: FlagId,
    version: NonZeroU32,
}

pub async fn merge(
    caller: Caller<FlagWrite>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (keep, merge, reason) = body.json(WORK_BYTES_MAX).await?.parse::<MergeBody>()?.read()?;
    Ok(rendered(HttpResponse::Ok(), registry.merge_flags(&caller.call, keep, merge, reason).await?))
}

impl MergeBody {
    fn read(self) -> Result<(VersionRead, Vec<VersionRead>, String), Problem> {
        if !(1..=MERGED_AT_ONCE_MAX).contains(&self.merge.len()) {
            return Err(Problem::violation("/merge", "expected 1 to 16 flags"));
        }
        let keep = self.keep.read();
        let mut merge: Vec<VersionRead> = Vec::new();
        for (place, Object(given)) in self.merge.into_iter().enumerate() {
            let read = given.read();
            if read.id == keep.id || merge.iter().any(|other| other.id == read.id) {
                return Err(Problem::violation(format!("/merge/{place}/id"), "is named twice"));
            }
            merge.push(read);
        }
        Ok((keep, merge, text(self.reason, "/reason", 2000)?))
    }
}

impl VersionBody {
    fn read(self) -> VersionRead {
        VersionRead { id: self.id, version: self.version.get() }
    }
}

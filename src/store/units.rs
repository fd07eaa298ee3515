//! Pages of what belongs to units, the newest first. The rows of all units are looked through, so that no table needs an index by
//! unit for the sake of a list; a page for which that takes too long ends early and says where to go on.

use super::StoreError;

/// Rows that are looked through at once.
pub(super) const ROWS_AT_ONCE: u32 = 500;

/// Rows of all units: the id of each, and what it holds if that belongs to those that are asked for.
pub(super) type Rows<Id, T> = Vec<(Id, Option<T>)>;

/// A page of `rows_max`, and after which row the next one begins. `rows` finds what comes after a row, `ROWS_AT_ONCE` at most.
pub(super) fn page<Id: Copy, T>(
    mut after: Option<Id>,
    rows_max: u32,
    looked_max: usize,
    rows: &mut dyn FnMut(Option<Id>) -> Result<Rows<Id, T>, StoreError>,
) -> Result<(Vec<T>, Option<Id>), StoreError> {
    let shown = usize::try_from(rows_max).unwrap_or(usize::MAX);
    let (mut found, mut looked) = (Vec::new(), 0);
    loop {
        let rows = rows(after)?;
        if rows.is_empty() {
            return Ok((found, None));
        }
        for (id, held) in rows {
            if looked == looked_max || (held.is_some() && found.len() == shown) {
                return Ok((found, after));
            }
            (after, looked) = (Some(id), looked + 1);
            found.extend(held);
        }
    }
}

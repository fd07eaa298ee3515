//! `/log/{node}/…` (C2SP tlog-tiles), `/.well-known/log-key`, `/v1/log/{node}/consistency`: what anybody with the key can
//! check the log by, with tools of their own.

use super::body::NoQuery;
use super::caller::{Anyone, Caller, LogRead};
use super::problem::Problem;
use super::rendered_as;
use crate::registry::{Error, Registry, TilePlace};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, web};

pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A tile never changes.
const FOR_EVER: &str = "private, max-age=31536000, immutable";
const SIZE: &str = "expected a number of entries, at least 1";

pub async fn key(_: NoQuery, registry: &'static Registry) -> HttpResponse {
    let text = format!("{}\n", registry.log_key());
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, TEXT)).body(text)
}

pub async fn checkpoint(
    _: Caller<Anyone>,
    node: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let note = registry.checkpoint(&node).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, TEXT))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(note))
}

pub async fn tile(
    caller: Caller<LogRead>,
    path: web::Path<(String, String)>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (node, place) = path.into_inner();
    let place = parse_place(&place).ok_or(Error::NotFound)?;
    let Some(level) = place.level else {
        let answered = registry.read_bundle(&caller.call, &node, place).await?;
        return Ok(rendered_as(BYTES, HttpResponse::Ok(), answered));
    };
    let hashes = registry.read_tile(&node, level, place).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, BYTES))
        .insert_header((header::CACHE_CONTROL, FOR_EVER))
        .body(hashes))
}

pub async fn consistency(
    caller: Caller<LogRead>,
    node: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let size = |text: &str| text.parse::<u64>().ok().filter(|size| *size > 0 && size.to_string() == text);
    let missing = |name: &str| Problem::violation(format!("/{name}"), "is missing");
    let from = caller.query.value("from", SIZE, size)?.ok_or_else(|| missing("from"))?;
    let to = caller.query.value("to", SIZE, size)?.ok_or_else(|| missing("to"))?;
    if from > to {
        return Err(Problem::violation("/to", "is smaller than from"));
    }
    let body = registry.prove_consistency(&node, from, to).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body))
}

/// `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`, and nothing that is written in another way.
fn parse_place(path: &str) -> Option<TilePlace> {
    let (level, rest) = path.split_once('/')?;
    let level = match level {
        "entries" => None,
        level => Some(canonical(level)?.try_into().ok().filter(|level| *level < 64)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, u16::try_from(canonical(width)?).ok().filter(|w| (1..=255).contains(w))?),
        None => (rest, 256),
    };
    Some(TilePlace { level, index: parse_index(index)?, width })
}

fn canonical(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Three digits an element, all but the last after an `x`: `x001/x234/067`.
fn parse_index(text: &str) -> Option<u64> {
    let (mut index, mut elements) = (0_u64, text.split('/').peekable());
    let mut is_first = true;
    while let Some(element) = elements.next() {
        let digits = if elements.peek().is_some() { element.strip_prefix('x')? } else { element };
        let in_form = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        // The shortest form has no element of zeros before another.
        if !in_form || (is_first && elements.peek().is_some() && digits == "000") {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        is_first = false;
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(level: Option<u8>, index: u64, width: u16) -> Option<TilePlace> {
        Some(TilePlace { level, index, width })
    }

    #[test]
    fn a_place_is_read_as_tlog_tiles_writes_it() {
        assert_eq!(parse_place("0/x001/x234/067"), place(Some(0), 1_234_067, 256));
        assert_eq!(parse_place("63/000"), place(Some(63), 0, 256));
        assert_eq!(parse_place("entries/x001/000.p/7"), place(None, 1000, 7));
        assert_eq!(parse_place("1/999.p/255"), place(Some(1), 999, 255));
    }

    #[test]
    fn a_place_written_in_any_other_way_is_refused() {
        for path in [
            "",
            "0",
            "0/",
            "00/000",
            "64/000",
            "-1/000",
            "0/0",
            "0/0000",
            "0/x000",
            "0/x000/001",
            "0/001/002",
            "0/x01/002",
            "0/+01",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000/",
            "entries",
            "entries/",
            "Entries/000",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
            "0/00\u{0661}",
        ] {
            assert_eq!(parse_place(path), None, "{path}");
        }
    }
}

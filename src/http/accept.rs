//! What a client accepts (RFC 9110 §12.5.1) of what a resource offers. No header takes anything.

use super::problem::{Problem, Slug};
use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT;

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Json,
    NdJson,
    Csv,
    Xlsx,
}

impl Offer {
    /// What the log is given as.
    pub const LOG: [Self; 3] = [Self::Json, Self::NdJson, Self::Csv];
    /// What an export is given as.
    pub const EXPORT: [Self; 3] = [Self::Csv, Self::NdJson, Self::Xlsx];

    fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application", "json"),
            Self::NdJson => ("application", "x-ndjson"),
            Self::Csv => ("text", "csv"),
            Self::Xlsx => ("application", "vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        }
    }
}

/// The offer that the client wants most; of several the first.
pub fn accepted(request: &HttpRequest, offers: &[Offer]) -> Result<Offer, Problem> {
    let headers = request.headers().get_all(ACCEPT).map(|value| value.to_str().unwrap_or_default());
    let ranges: Vec<&str> = headers.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut best: Option<(Offer, u16)> = None;
    for offer in offers {
        let weight = if ranges.is_empty() { 1000 } else { weight(&ranges, *offer) };
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((*offer, weight));
        }
    }
    best.map(|(offer, _)| offer).ok_or_else(|| {
        let offered = offers.iter().map(|offer| offer.media_type()).map(|(kind, form)| format!("{kind}/{form}"));
        Problem::new(Slug::NotAcceptable, format!("Offered: {}.", offered.collect::<Vec<_>>().join(", ")))
    })
}

/// In thousandths; the range that names the offer most exactly decides.
fn weight(ranges: &[&str], offer: Offer) -> u16 {
    let (kind, form) = offer.media_type();
    let mut decided = (0, 0);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().unwrap_or_default().split_once('/').unwrap_or_default();
        let exactness = match named {
            ("*", "*") => 1,
            (named, "*") if named.eq_ignore_ascii_case(kind) => 2,
            (named, exact) if named.eq_ignore_ascii_case(kind) && exact.eq_ignore_ascii_case(form) => 3,
            _ => continue,
        };
        if exactness > decided.0 {
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            decided = (exactness, quality.map_or(Some(1000), thousandths).unwrap_or(0));
        }
    }
    decided.1
}

/// `0.5` is 500; `None` for what RFC 9110 does not write.
fn thousandths(quality: &str) -> Option<u16> {
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let whole: u16 = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    let fits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part: u16 = format!("{part:0<3}").parse().ok().filter(|_| fits)?;
    whole.checked_add(part).filter(|thousandths| *thousandths <= 1000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn of(headers: &[&str]) -> Option<Offer> {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header((ACCEPT, *header));
        }
        accepted(&request.to_http_request(), &Offer::LOG).ok()
    }

    #[test]
    fn what_is_not_offered_or_refused_is_not_acceptable() {
        for header in ["text/html", "application/xml, image/*", "*/*;q=0", "text/csv;q=0", "json", "text/csv;q=2", ""] {
            assert_eq!(of(&[header]), None, "{header}");
        }
        let request = TestRequest::default().append_header((ACCEPT, "text/csv")).to_http_request();
        assert_eq!(accepted(&request, &[Offer::Json]).map_err(|problem| problem.slug), Err(Slug::NotAcceptable));
    }

    #[test]
    fn no_header_and_any_type_give_json() {
        assert_eq!(of(&[]), Some(Offer::Json));
        assert_eq!(of(&["*/*"]), Some(Offer::Json));
        assert_eq!(of(&["application/*;q=0.2"]), Some(Offer::Json));
    }

    #[test]
    fn the_weightiest_is_given_and_the_most_exact_range_weighs() {
        assert_eq!(of(&["text/csv"]), Some(Offer::Csv));
        assert_eq!(of(&["Application/X-NDJSON"]), Some(Offer::NdJson));
        assert_eq!(of(&["application/json;q=0.5, text/csv;q=0.9"]), Some(Offer::Csv));
        assert_eq!(of(&["application/json; q=0.1", "*/*;q=0.05, application/x-ndjson;q=0.11"]), Some(Offer::NdJson));
        assert_eq!(of(&["*/*, application/json;q=0, application/x-ndjson;q=0.000"]), Some(Offer::Csv));
        assert_eq!(of(&["text/*;charset=utf-8;q=0.3, text/html"]), Some(Offer::Csv));
    }
}

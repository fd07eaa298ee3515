//! `/v1/log/…`: entries, search, reports. What is asked for in a body stays out of URLs, since it may name a subject.

use super::accept::{Offer, accepted};
use super::body::{Query, Unread, WORK_BYTES_MAX, limit};
use super::caller::{Caller, LogRead};
use super::problem::Problem;
use super::{rendered, streamed, text};
use crate::domain::party::{ClientId, PartyId};
use crate::domain::strict::{object, present, present_object, present_word};
use crate::domain::{FlagId, LogPosition, LogPositions, SubjectInput, Timestamp, Verdict};
use crate::log::{Act, LogFilter};
use crate::registry::{Error, LogForm, LogPage, Registry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

const CURSOR: &str =
    "expected a next_cursor of this list, or the node, / and the index of an entry, with commas one for each node";
/// As many logs a cursor can name.
const CURSOR_PLACES_MAX: usize = 64;
/// As many entries a log can hold.
const INDEX_MAX: u64 = (1 << 40) - 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchBody<'a> {
    #[serde(default, borrow, deserialize_with = "present_object")]
    subject: Option<SubjectInput<'a>>,
    #[serde(default, deserialize_with = "present")]
    operator: Option<String>,
    #[serde(default, deserialize_with = "present")]
    flag: Option<FlagId>,
    #[serde(default, deserialize_with = "present")]
    node: Option<String>,
    #[serde(default, deserialize_with = "present")]
    from: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    to: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    party: Option<PartyId>,
    #[serde(default, deserialize_with = "present")]
    client: Option<ClientId>,
    #[serde(default, deserialize_with = "present")]
    act: Option<String>,
    #[serde(default, deserialize_with = "present_word")]
    verdict: Option<Verdict>,
    #[serde(default, deserialize_with = "present")]
    cursor: Option<String>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectReportBody<'a> {
    #[serde(borrow, deserialize_with = "object")]
    subject: SubjectInput<'a>,
    #[serde(default, deserialize_with = "present")]
    from: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    to: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    cursor: Option<String>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<u32>,
}

/// What has been read of a request for a part of the log, before its parts are held against each other.
struct Asked {
    filter: LogFilter,
    node: Option<String>,
    cursor: LogPositions,
    limit: Option<u32>,
}

pub async fn entries(
    caller: Caller<LogRead>,
    request: HttpRequest,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let offer = accepted(&request, &Offer::LOG)?;
    let asked = Asked::of_query(&caller.query)?;
    answer(&caller, registry, offer, asked).await
}

pub async fn search(
    caller: Caller<LogRead>,
    request: HttpRequest,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let offer = accepted(&request, &Offer::LOG)?;
    let body = body.json(WORK_BYTES_MAX).await?;
    let asked = body.parse::<SearchBody<'_>>()?.read(registry)?;
    answer(&caller, registry, offer, asked).await
}

async fn answer(
    caller: &Caller<LogRead>,
    registry: &'static Registry,
    offer: Offer,
    asked: Asked,
) -> Result<HttpResponse, Problem> {
    let (form, media_type) = match offer {
        Offer::Json => {
            let answered = registry.read_log(&caller.call, asked.page()?).await?;
            return Ok(rendered(HttpResponse::Ok(), answered));
        }
        Offer::NdJson => (LogForm::NdJson, "application/x-ndjson"),
        Offer::Csv | Offer::Xlsx => (LogForm::Csv, "text/csv; charset=utf-8; header=present"),
    };
    if asked.limit.is_some() {
        return Err(Problem::violation("/limit", "a stream has no limit; it goes on to the end"));
    }
    let stream = registry.stream_log(&caller.call, asked.page()?, form).await?;
    Ok(streamed(media_type, stream.position.text(), Box::new(stream)))
}

pub async fn entry(
    caller: Caller<LogRead>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    accepted(&request, &[Offer::Json])?;
    let (node, index) = path.into_inner();
    let (node, index) = position(&format!("{node}/{index}")).ok_or(Error::NotFound)?;
    Ok(rendered(HttpResponse::Ok(), registry.read_log_entry(&caller.call, node, index).await?))
}

pub async fn report_subject(
    caller: Caller<LogRead>,
    request: HttpRequest,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    accepted(&request, &[Offer::Json])?;
    let body = body.json(WORK_BYTES_MAX).await?;
    let SubjectReportBody { subject, from, to, cursor, limit } = body.parse()?;
    let subject = registry.index().hash(&super::read_subject(&subject, "/subject", registry)?);
    let filter = LogFilter { from, to, ..LogFilter::default() };
    let asked = Asked { filter, node: None, cursor: read_cursor(cursor.as_deref())?, limit };
    Ok(rendered(HttpResponse::Ok(), registry.report_subject(&caller.call, subject, asked.page()?).await?))
}

pub async fn report_flag(
    caller: Caller<LogRead>,
    request: HttpRequest,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    accepted(&request, &[Offer::Json])?;
    let id = FlagId::parse(&id).ok_or(Error::NotFound)?;
    Ok(rendered(HttpResponse::Ok(), registry.report_flag(&caller.call, id).await?))
}

impl Asked {
    fn of_query(query: &Query) -> Result<Self, Problem> {
        const TIME: &str = "expected an RFC 3339 time";
        let filter = LogFilter {
            from: query.value("from", TIME, Timestamp::parse)?,
            to: query.value("to", TIME, Timestamp::parse)?,
            party: query.value("party", PartyId::SHAPE, PartyId::parse)?,
            client: query.value("client", ClientId::SHAPE, ClientId::parse)?,
            act: query.value("act", ACT, Act::parse)?,
            verdict: query.value("verdict", "expected clear, warn, hold or block", Verdict::parse)?,
            ..LogFilter::default()
        };
        Ok(Self {
            filter,
            node: query.text("node").map(node).transpose()?,
            cursor: read_cursor(query.text("cursor"))?,
            limit: query.text("limit").map(|_| query.limit()).transpose()?,
        })
    }

    /// The parts must not contradict each other.
    fn page(self) -> Result<LogPage, Problem> {
        if let (Some(from), Some(to)) = (self.filter.from, self.filter.to)
            && from >= to
        {
            return Err(Problem::violation("/to", "is not after from"));
        }
        let limit = limit(self.limit)?;
        if self.node.as_deref().is_some_and(|node| self.cursor.nodes().any(|other| node != other)) {
            return Err(Problem::violation("/cursor", "is of another node"));
        }
        Ok(LogPage { filter: self.filter, node: self.node, after: self.cursor, limit })
    }
}

const ACT: &str = "expected an act of the log, such as check";

impl SearchBody<'_> {
    fn read(self, registry: &Registry) -> Result<Asked, Problem> {
        let subject = self.subject.as_ref().map(|subject| super::read_subject(subject, "/subject", registry));
        let act = self.act.map(|act| Act::parse(&act).ok_or_else(|| Problem::violation("/act", ACT)));
        Ok(Asked {
            filter: LogFilter {
                subject: subject.transpose()?.map(|subject| registry.index().hash(&subject)),
                flag: self.flag,
                party: self.party,
                client: self.client,
                operator: self.operator.map(|given| text(given, "/operator", 64)).transpose()?,
                act: act.transpose()?,
                verdict: self.verdict,
                from: self.from,
                to: self.to,
            },
            node: self.node.as_deref().map(node).transpose()?,
            cursor: read_cursor(self.cursor.as_deref())?,
            limit: self.limit,
        })
    }
}

fn node(given: &str) -> Result<String, Problem> {
    let name = Some(given).filter(|name| names_node(name));
    name.map(str::to_owned).ok_or_else(|| Problem::violation("/node", "expected the name of a node"))
}

/// As in the configuration.
fn names_node(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

/// Where to go on in each log: in those that it does not name, from the beginning.
fn read_cursor(text: Option<&str>) -> Result<LogPositions, Problem> {
    let Some(text) = text else { return Ok(LogPositions::default()) };
    let place = |text| position(text).map(|(node, index)| LogPosition { node: node.into(), index });
    let places: Option<Vec<_>> = text.split(',').take(CURSOR_PLACES_MAX + 1).map(place).collect();
    let places = places.filter(|places| places.len() <= CURSOR_PLACES_MAX).and_then(LogPositions::new);
    places.ok_or_else(|| Problem::violation("/cursor", CURSOR))
}

/// `main/17`, and nothing that is written in another way.
fn position(text: &str) -> Option<(String, u64)> {
    let (node, index) = text.rsplit_once('/')?;
    let index: u64 = index.parse().ok().filter(|number: &u64| *number <= INDEX_MAX && number.to_string() == index)?;
    names_node(node).then(|| (node.to_owned(), index))
}

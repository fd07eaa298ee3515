//! `canhbao import`: hands a file of flags to a running server and shows how far it is. It never holds the file whole, and
//! never prints a value of it.

use super::admin::{Target, said, send};
use super::{Connection, Failure};
use crate::clock::Stopwatch;
use crate::domain::import::FILE_BYTES_MAX;
use actix_web::web::Bytes;
use clap::Args;
use http_body::{Frame, SizeHint};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Client, RequestBuilder};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// As long as the server takes one.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(600);
const PIECE_BYTES: usize = 256 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A token lives for ten minutes, and rows may take longer.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(300);
/// A server that does not answer for so long, as while it starts anew, is given up; the import goes on without us.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const SCOPES: [&str; 2] = ["flag.write", "flag.read"];

#[derive(Args)]
pub struct ImportArgs {
    /// A .csv, .xlsx or .ndjson file.
    file: PathBuf,
    /// Look at every row and report, but take nothing.
    #[arg(long)]
    dry_run: bool,
    /// What a CSV file without a byte order mark is written in: utf-8, utf-16le, utf-16be or windows-1258.
    #[arg(long)]
    charset: Option<String>,
    /// What stands in a column where rows leave it empty, such as bank=VCB; several times for several.
    #[arg(long = "default", value_name = "COLUMN=VALUE")]
    defaults: Vec<String>,
    /// Write what became of each row to this new file, as CSV.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

pub async fn import(args: &ImportArgs) -> Result<(), Failure> {
    let mut session = Session::start(&args.connection).await?;
    let handed_in = session.hand_in(args).await?;
    let import = session.wait(handed_in).await?;
    let url = format!("{}/{}", session.url, text(&import, "id"));
    if let Some(path) = &args.report {
        session.write_report(&format!("{url}/report"), path).await?;
    }
    tell(&import, &url)
}

/// A client with a token that is renewed in time.
struct Session {
    target: Target,
    client: Client,
    token: String,
    age: Stopwatch,
    url: String,
}

impl Session {
    async fn start(connection: &Connection) -> Result<Self, Failure> {
        let target = Target::read(connection)?;
        let client = target.client()?;
        let token = target.token(&client, &SCOPES.map(str::to_owned)).await?;
        let url = format!("{}/v1/imports", target.base_url());
        Ok(Self { target, client, token, age: Stopwatch::start(), url })
    }

    async fn get(&mut self, url: &str) -> Result<RequestBuilder, Failure> {
        if self.age.elapsed() > TOKEN_AGE_MAX {
            self.token = self.target.token(&self.client, &SCOPES.map(str::to_owned)).await?;
            self.age = Stopwatch::start();
        }
        Ok(self.client.get(url).bearer_auth(&self.token))
    }

    /// The import, which is another's if the same file was handed in before.
    async fn hand_in(&self, args: &ImportArgs) -> Result<Value, Failure> {
        let mut query = vec![("dry_run", args.dry_run.to_string())];
        for default in &args.defaults {
            let usage = || Failure::Usage(format!("--default takes COLUMN=VALUE, and not {default}"));
            let (column, value) = default.split_once('=').ok_or_else(usage)?;
            query.push((column, value.to_owned()));
        }
        let key = crate::entropy::bytes16().map_err(|error| said(&error))?;
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let media_type = media_type(&args.file, args.charset.as_deref())?;
        let (body, bar) = FileBody::open(&args.file)?;
        let ask = self.client.post(&self.url).query(&query).header(CONTENT_TYPE, media_type);
        let ask = ask.header("idempotency-key", key).body(Body::wrap(body)).timeout(UPLOAD_TIME_MAX);
        let (import, _) = send(ask.bearer_auth(&self.token)).await?;
        bar.finish_and_clear();
        println!("{} has {}", text(&import, "id"), args.file.display());
        Ok(import)
    }

    /// Looks at the import until its rows are taken.
    async fn wait(&mut self, mut import: Value) -> Result<Value, Failure> {
        let url = format!("{}/{}", self.url, text(&import, "id"));
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(LOOK_EVERY);
        bar.set_message("the file is being read through");
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left");
        let style = style.map_err(|error| said(&error))?;
        let mut heard = Stopwatch::start();
        while ["received", "running"].contains(&text(&import, "state").as_str()) {
            if let Some(total) = import.pointer("/counts/rows_total").and_then(Value::as_u64) {
                if bar.length().is_none() {
                    bar.set_style(style.clone());
                }
                bar.set_length(total);
                bar.set_position(count(&import, "rows"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let looked = match self.get(&url).await {
                Ok(ask) => send(ask).await,
                Err(failure) => Err(failure),
            };
            match looked {
                Ok((found, _)) => (import, heard) = (found, Stopwatch::start()),
                Err(failure) if heard.elapsed() > SILENCE_MAX => {
                    return Err(Failure::Said(format!("{failure}; the import goes on, run this again to look at it")));
                }
                Err(_) => {}
            }
        }
        bar.finish_and_clear();
        Ok(import)
    }

    async fn write_report(&mut self, url: &str, path: &Path) -> Result<(), Failure> {
        let at = |error: std::io::Error| Failure::Said(format!("{}: {error}", path.display()));
        let ask = self.get(url).await?.timeout(UPLOAD_TIME_MAX);
        let report = ask.send().await.and_then(reqwest::Response::error_for_status);
        let mut report = report.map_err(|error| said(&error))?;
        let mut file = File::create_new(path).map_err(at)?;
        while let Some(piece) = report.chunk().await.map_err(|error| said(&error))? {
            file.write_all(&piece).map_err(at)?;
        }
        file.sync_all().map_err(at)
    }
}

/// A file as a request's body, read as it is sent.
struct FileBody {
    file: File,
    left: u64,
    bar: ProgressBar,
}

impl FileBody {
    fn open(path: &Path) -> Result<(Self, ProgressBar), Failure> {
        let at = |error: std::io::Error| Failure::Said(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(at)?;
        let left = file.metadata().map_err(at)?.len();
        if left > FILE_BYTES_MAX {
            let told = format!("{}: {left} bytes, of which at most {FILE_BYTES_MAX} are taken", path.display());
            return Err(Failure::Said(told));
        }
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} sent, {eta} left");
        let bar = ProgressBar::new(left).with_style(style.map_err(|error| said(&error))?);
        Ok((Self { file, left, bar: bar.clone() }, bar))
    }

    /// The next piece; none where the file ends. A file that becomes shorter meanwhile breaks the request off.
    fn piece(&mut self) -> std::io::Result<Bytes> {
        let wanted = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut piece = vec![0; wanted];
        self.file.read_exact(&mut piece)?;
        let read = u64::try_from(wanted).unwrap_or(u64::MAX);
        self.left -= read;
        self.bar.inc(read);
        Ok(piece.into())
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.piece().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn media_type(path: &Path, charset: Option<&str>) -> Result<String, Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let plain = match extension.to_ascii_lowercase().as_str() {
        "csv" => "text/csv",
        "ndjson" | "jsonl" => "application/x-ndjson",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => return Err(Failure::Usage("the file's name must end in .csv, .xlsx or .ndjson".to_owned())),
    };
    Ok(charset.map_or_else(|| plain.to_owned(), |charset| format!("{plain}; charset={charset}")))
}

fn text(import: &Value, name: &str) -> String {
    import.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn count(import: &Value, name: &str) -> u64 {
    import.pointer(&format!("/counts/{name}")).and_then(Value::as_u64).unwrap_or_default()
}

/// The summary. A file that cannot be read, and one with rows that are not flags, are failures of their own.
fn tell(import: &Value, url: &str) -> Result<(), Failure> {
    let fault = |field: &str| import.pointer(&format!("/fault/{field}")).and_then(Value::as_str);
    if let Some(reason) = fault("reason") {
        let field = fault("field").unwrap_or_default();
        return Err(Failure::Said(format!("the file cannot be read: {field} {reason}")));
    }
    println!("{}", text(import, "state"));
    let counts = ["rows", "accepted", "duplicate", "invalid"].map(|name| count(import, name));
    let [rows, accepted, duplicate, invalid] = counts;
    println!("{rows} rows: {accepted} accepted, {duplicate} duplicate, {invalid} invalid");
    for name in ["by_verdict", "by_category", "by_bank", "by_kind"] {
        println!("{name}: {}", import.get(name).unwrap_or(&Value::Null));
    }
    println!("row by row: GET {url}/report");
    match invalid {
        0 => Ok(()),
        _ => Err(Failure::Incomplete(format!("{invalid} rows were not taken; the report tells why"))),
    }
}

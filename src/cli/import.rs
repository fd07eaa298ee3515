//! `canhbao import`: hands a file of flags to a running server and shows how far it is. It never prints a value of the file.

use super::admin::{Target, said, send};
use super::{Connection, Failure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const UPLOAD_TIME_MAX: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
    #[command(flatten)]
    connection: Connection,
}

pub async fn import(args: &ImportArgs) -> Result<(), Failure> {
    let target = Target::read(&args.connection)?;
    let client = target.client()?;
    let media_type = media_type(&args.file, args.charset.as_deref())?;
    let failed = |error: std::io::Error| Failure::Said(format!("{}: {error}", args.file.display()));
    let body = std::fs::read(&args.file).map_err(failed)?;
    let mut query = vec![("dry_run", args.dry_run.to_string())];
    for default in &args.defaults {
        let (column, value) = default
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--default takes COLUMN=VALUE, and not {default}")))?;
        query.push((column, value.to_owned()));
    }
    let key = crate::entropy::bytes16().map_err(|error| said(&error))?;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = target.token(&client, &["flag.write".to_owned(), "flag.read".to_owned()]).await?;
    let url = format!("{}/v1/imports", target.base_url());
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(LOOK_EVERY);
    bar.set_message(format!("sending {} bytes", body.len()));
    let ask =
        client.post(&url).query(&query).header(CONTENT_TYPE, media_type).header("idempotency-key", key).body(body);
    let (mut import, _) = send(ask.timeout(UPLOAD_TIME_MAX).bearer_auth(&token)).await?;
    let id = text(&import, "id");
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left");
    bar.set_style(style.map_err(|error| said(&error))?);
    while ["received", "running"].contains(&text(&import, "state").as_str()) {
        if let Some(total) = import.pointer("/counts/rows_total").and_then(Value::as_u64) {
            bar.set_length(total);
            bar.set_position(import.pointer("/counts/rows").and_then(Value::as_u64).unwrap_or_default());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        import = send(client.get(format!("{url}/{id}")).bearer_auth(&token)).await?.0;
    }
    bar.finish_and_clear();
    tell(&import, &format!("{url}/{id}"))
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

/// The summary.
fn tell(import: &Value, url: &str) -> Result<(), Failure> {
    let count = |name: &str| import.pointer(&format!("/counts/{name}")).and_then(Value::as_u64).unwrap_or_default();
    println!("{} is {}", text(import, "id"), text(import, "state"));
    println!(
        "{} rows: {} accepted, {} duplicate, {} invalid",
        count("rows"),
        count("accepted"),
        count("duplicate"),
        count("invalid")
    );
    for name in ["by_verdict", "by_category", "by_bank"] {
        println!("{name}: {}", import.get(name).unwrap_or(&Value::Null));
    }
    println!("row by row: GET {url}/report");
    match import.pointer("/fault/reason").and_then(Value::as_str) {
        Some(reason) => Err(Failure::Said(format!("the file cannot be read: {} {reason}", field(import)))),
        None => Ok(()),
    }
}

fn field(import: &Value) -> &str {
    import.pointer("/fault/field").and_then(Value::as_str).unwrap_or_default()
}

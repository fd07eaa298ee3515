//! `canhbao demo`: a throw-away registry with sample parties, clients and flags. Its subjects are invented and never
//! belong into a real registry.

mod imported;
mod life;
mod reasons;

use crate::auth::{AuthorityError, ClientSecret};
use crate::config::Config;
use crate::domain::party::{
    AccessState, Client, ClientId, Credential, CredentialKind, Party, PartyId, Quota, Quotas, Role, Scope, Scopes,
};
use crate::domain::{
    Actor, Category, Flag, FlagId, LegalBasis, Proposal, RequestId, Source, SourceKind, Subject, Timestamp, Urgency,
    Verdict,
};
use crate::entropy;
use crate::log::{AppendError, Pending};
use crate::registry::{Call, Registry, Seed};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

pub const FILE: &str = "demo.json";
pub const FLAGS_DEFAULT: u64 = 10_000;
/// Flags that are committed as one change.
const FLAGS_IN_CHANGE: u64 = 1_000;
/// Changes on their way to the disk at once.
const PENDING_MAX: usize = 4;
const SANDBOX_BANK: &str = "970436";
const WALLET_CHECKS_A_MINUTE: u32 = 60;
const FAR_ABOVE_A_LAPTOP: u32 = 1_000_000_000;

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("demo: {0}")]
    Seed(String),
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}

/// What outside checks start from: `DIR/demo.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoFile {
    pub base_url: String,
    pub ca_file: PathBuf,
    pub clients: BTreeMap<String, DemoClient>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoClient {
    pub party: String,
    pub client_id: String,
    pub client_secret: String,
}

/// The account that generated flag `i` is about: bank and number. Numbers differ for all `i` below 10^12.
pub fn generated_account(i: u64) -> (&'static str, String) {
    const BANKS: [&str; 10] =
        ["970436", "970415", "970418", "970422", "970407", "970405", "970432", "970423", "970403", "970416"];
    // Coprime to 10^12, so that multiplying permutes the numbers below it.
    const FACTOR: u128 = 618_033_988_749;
    const MODULUS: u128 = 1_000_000_000_000;
    let bank = usize::try_from(i % 10).ok().and_then(|place| BANKS.get(place)).copied().unwrap_or(SANDBOX_BANK);
    (bank, format!("1{:012}", u128::from(i) * FACTOR % MODULUS))
}

/// A demo's configuration beside the defaults.
pub fn config(listen: std::net::SocketAddr, metrics_listen: std::net::SocketAddr) -> Config {
    Config { registry: "demo.canhbao.example".to_owned(), listen, metrics_listen, ..Config::default() }
}

struct Person {
    name: &'static str,
    party: &'static str,
    scopes: &'static [Scope],
}

const CLIENTS: [Person; 11] = [
    Person { name: "bank", party: "970436", scopes: BANK },
    Person { name: "bank_b", party: "970415", scopes: BANK },
    Person { name: "wallet", party: "momo", scopes: BANK },
    Person { name: "officer", party: "hanoi-police", scopes: OFFICER },
    Person { name: "officer_b", party: "hanoi-police", scopes: OFFICER },
    Person { name: "supervisor", party: "hanoi-police", scopes: SUPERVISOR },
    Person { name: "ward_a", party: "hanoi-hoan-kiem", scopes: OFFICER },
    Person { name: "ward_a_supervisor", party: "hanoi-hoan-kiem", scopes: SUPERVISOR },
    Person { name: "ward_b", party: "hanoi-dong-da", scopes: OFFICER },
    Person { name: "auditor", party: "auditor", scopes: &[Scope::LogRead] },
    Person { name: "operator", party: "operator", scopes: &[Scope::Admin] },
];
const BANK: &[Scope] = &[Scope::Check, Scope::FeedRead, Scope::ReportWrite, Scope::RequestAnswer];
const OFFICER: &[Scope] = &[Scope::FlagRead, Scope::FlagWrite, Scope::ReportReview, Scope::RequestWrite];
const SUPERVISOR: &[Scope] =
    &[Scope::FlagRead, Scope::FlagWrite, Scope::ReportReview, Scope::RequestWrite, Scope::FlagApprove];
const PARTIES: [(&str, &str, Role, Option<&str>); 8] = [
    ("970436", "Vietcombank (demo)", Role::Bank, None),
    ("970415", "VietinBank (demo)", Role::Bank, None),
    ("momo", "MoMo (demo)", Role::PaymentIntermediary, None),
    ("hanoi-police", "Công an thành phố Hà Nội (demo)", Role::Police, None),
    ("hanoi-hoan-kiem", "Công an phường Hoàn Kiếm (demo)", Role::Police, Some("hanoi-police")),
    ("hanoi-dong-da", "Công an phường Đống Đa (demo)", Role::Police, Some("hanoi-police")),
    ("auditor", "Kiểm toán (demo)", Role::Auditor, None),
    ("operator", "Vận hành (demo)", Role::Operator, None),
];

/// Seeds an empty registry; returns the clients with their secrets.
pub async fn seed(registry: &'static Registry, flags: u64) -> Result<BTreeMap<String, DemoClient>, DemoError> {
    let mut sower = Sower { registry, pending: VecDeque::new() };
    for (id, name, role, parent) in PARTIES {
        let party = Party {
            id: known(PartyId::parse(id))?,
            name: name.to_owned(),
            role,
            parent: parent.map(|parent| known(PartyId::parse(parent))).transpose()?,
            state: AccessState::Enabled,
            version: 1,
            created_at: registry.now(),
        };
        sower.sow(Seed::Party(party)).await?;
    }
    let mut clients = BTreeMap::new();
    for role in CLIENTS {
        let (client, secret) = client(registry, &role).await?;
        let shown = DemoClient {
            party: role.party.to_owned(),
            client_id: client.id.to_string(),
            client_secret: secret.expose().to_owned(),
        };
        clients.insert(role.name.to_owned(), shown);
        sower.sow(Seed::Client(Box::new(client))).await?;
    }
    let sandbox =
        [("9000000000001", Verdict::Warn), ("9000000000002", Verdict::Hold), ("9000000000003", Verdict::Block)];
    let flags_of_sandbox: Result<Vec<Flag>, DemoError> = sandbox
        .into_iter()
        .map(|(number, verdict)| {
            flag(SANDBOX_BANK, number, verdict, Category::Impersonation, "DEMO-0", "Demo", registry.now())
        })
        .collect();
    sower.sow(Seed::Flags(flags_of_sandbox?)).await?;
    let mut next = 0;
    while next < flags {
        let end = flags.min(next + FLAGS_IN_CHANGE);
        let change: Result<Vec<Flag>, DemoError> = (next..end).map(|i| generated_flag(i, registry.now())).collect();
        sower.sow(Seed::Flags(change?)).await?;
        next = end;
        if next.is_multiple_of(1_000_000) {
            tracing::info!(flags = next, "seeded");
        }
    }
    life::live(&mut sower).await?;
    sower.settle(0).await?;
    imported::import(registry).await?;
    Ok(clients)
}

struct Sower<'a> {
    registry: &'a Registry,
    pending: VecDeque<Pending>,
}

impl Sower<'_> {
    async fn sow(&mut self, seed: Seed) -> Result<(), DemoError> {
        self.sow_by(seed, actor("operator", "demo-operator")?).await
    }

    async fn sow_by(&mut self, seed: Seed, actor: Actor) -> Result<(), DemoError> {
        let at = self.registry.now();
        let request_id = RequestId::mint(at, random()?);
        let call = Call { request_id, at, actor };
        let pending = self.registry.sow(&call, seed).map_err(|error| DemoError::Seed(format!("{error:?}")))?;
        self.pending.push_back(pending);
        self.settle(PENDING_MAX).await
    }

    async fn settle(&mut self, left: usize) -> Result<(), DemoError> {
        while self.pending.len() > left {
            if let Some(pending) = self.pending.pop_front() {
                pending.durable().await.map_err(|error: AppendError| DemoError::Seed(error.to_string()))?;
            }
        }
        Ok(())
    }
}

async fn client(registry: &Registry, role: &Person) -> Result<(Client, ClientSecret), DemoError> {
    let failed = |error: AuthorityError| DemoError::Seed(error.to_string());
    let (secret, phc) = registry.authority().new_secret().await.map_err(failed)?;
    let a_minute = NonZeroU32::MIN.saturating_add(59);
    let checks = if role.name == "wallet" { WALLET_CHECKS_A_MINUTE } else { FAR_ABOVE_A_LAPTOP };
    let quota = |quota| Some(Quota { quota: NonZeroU32::new(quota).unwrap_or(NonZeroU32::MIN), window_s: a_minute });
    let wide = quota(FAR_ABOVE_A_LAPTOP);
    let now = registry.now();
    let client = Client {
        id: known(ClientId::parse(&format!("demo-{}", role.name)))?,
        party: known(PartyId::parse(role.party))?,
        name: format!("Demo: {}", role.name),
        scopes: Scopes::of(role.scopes),
        quotas: Quotas { token: wide, checks: quota(checks), batch: wide, lists: wide, writes: wide },
        state: AccessState::Enabled,
        version: 1,
        created_at: now,
        tokens_void_until: None,
        credentials: vec![Credential { kind: CredentialKind::Secret { phc }, created_at: now, expires_at: None }],
    };
    Ok((client, secret))
}

fn generated_flag(i: u64, now: Timestamp) -> Result<Flag, DemoError> {
    let (bank, number) = generated_account(i);
    let verdict = match i % 10 {
        0..=5 => Verdict::Warn,
        6..=8 => Verdict::Hold,
        _ => Verdict::Block,
    };
    let place = usize::try_from(i / 10 % 12).unwrap_or_default();
    let category = Category::ALL.get(place).copied().unwrap_or(Category::Other);
    let (case, reason) = (format!("DEMO-{}", i / 100), reasons::reason(i, category));
    flag(bank, &number, verdict, category, &case, &reason, now)
}

fn flag(
    bank: &str,
    number: &str,
    verdict: Verdict,
    category: Category,
    case: &str,
    reason: &str,
    now: Timestamp,
) -> Result<Flag, DemoError> {
    let legal_basis = LegalBasis {
        document: format!("{}/QĐ-DEMO", case.trim_start_matches("DEMO-")),
        issued_on: "2026-01-01".to_owned(),
        authority: "Demo".to_owned(),
    };
    let proposal = Proposal {
        subject: known(Subject::from_canonical(&format!("account:{bank}:{number}")))?,
        verdict,
        category,
        case: case.to_owned(),
        reason: reason.to_owned(),
        legal_basis: (verdict == Verdict::Block).then_some(legal_basis),
        expires_at: None,
        urgency: Urgency::Normal,
        linked: Vec::new(),
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: Vec::new(),
    };
    let proposed = Flag::propose(FlagId::mint(now, random()?), proposal, actor("hanoi-police", "demo-officer")?, now);
    let proposed = proposed.map_err(|error| DemoError::Seed(error.to_string()))?;
    let approved = proposed.approve(actor("hanoi-police", "demo-supervisor")?, now);
    approved.map_err(|error| DemoError::Seed(error.to_string()))
}

fn actor(party: &str, client: &str) -> Result<Actor, DemoError> {
    Ok(Actor { party: known(PartyId::parse(party))?, client: known(ClientId::parse(client))? })
}

fn random() -> Result<[u8; 16], DemoError> {
    entropy::bytes16().map_err(|error| DemoError::Seed(error.to_string()))
}

fn known<T>(value: Option<T>) -> Result<T, DemoError> {
    value.ok_or_else(|| DemoError::Seed("a sample that the registry would refuse".to_owned()))
}

impl DemoFile {
    pub fn read(home: &Path) -> Result<Self, DemoError> {
        let path = home.join(FILE);
        let failed = |reason: String| DemoError::File { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }

    /// Readable by its owner alone, since it holds secrets; replaced as a whole.
    pub fn write(&self, home: &Path) -> Result<(), DemoError> {
        let path = home.join(FILE);
        let failed = |reason: String| DemoError::File { path: path.clone(), reason };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.to_string()))?;
        let new = home.join(format!("{FILE}.new"));
        if new.exists() {
            std::fs::remove_file(&new).map_err(|error| failed(error.to_string()))?;
        }
        crate::auth::key_file::create_private(&new, &text).map_err(|error| failed(error.to_string()))?;
        std::fs::rename(&new, &path).map_err(|error| failed(error.to_string()))
    }

    /// Commands to copy: a token, a clear check, a flagged check, its receipt.
    pub fn commands(&self) -> String {
        let (url, ca) = (&self.base_url, self.ca_file.display());
        let (id, secret) = self
            .clients
            .get("bank")
            .map_or(("", ""), |client| (client.client_id.as_str(), client.client_secret.as_str()));
        let check = |number: &str| {
            format!(
                "curl -s --cacert '{ca}' -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n  \
                 -d '{{\"subjects\":[{{\"kind\":\"account\",\"bank\":\"VCB\",\"number\":\"{number}\"}}]}}' '{url}/v1/checks'"
            )
        };
        format!(
            "# a token\nTOKEN=$(curl -s --cacert '{ca}' -u '{id}:{secret}' -d grant_type=client_credentials \
             '{url}/oauth2/token' \\\n  | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
             # a clear check\n{}\n# a flagged check\nANSWER=$({})\necho \"$ANSWER\"\n\
             # its receipt, within a second or two\nCHECK=$(echo \"$ANSWER\" | sed 's/.*\"id\":\"\\(check_[^\"]*\\)\".*/\\1/')\n\
             curl -sf --retry 3 --cacert '{ca}' -H \"Authorization: Bearer $TOKEN\" \"{url}/v1/checks/$CHECK/receipt\"\n",
            check("9000000000000"),
            check("9000000000001")
        )
    }
}

//! Statements over parties, clients and their credentials.

use super::{Connection, Row, StoreError, Value};
use crate::domain::Timestamp;
use crate::domain::party::{
    AccessState, Client, ClientId, Credential, CredentialKind, Party, PartyId, Quotas, Role, Scopes,
};

/// No registry has as many.
const CHANGES_MAX: u64 = 1 << 62;

/// Stores a new party; false if the id is taken.
pub fn insert_party(connection: &mut dyn Connection, party: &Party, change: u64) -> Result<bool, StoreError> {
    let rows = connection.execute(
        "INSERT INTO party (id, name, role, state, version, created_at, change, parent) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
        &[
            Value::Text(party.id.as_str()),
            Value::Text(&party.name),
            Value::Text(party.role.as_str()),
            Value::Text(party.state.as_str()),
            Value::Int(party.version.into()),
            Value::count(party.created_at.as_ms())?,
            Value::count(change)?,
            party.parent.as_ref().map_or(Value::Null, |parent| Value::Text(parent.as_str())),
        ],
    )?;
    Ok(rows == 1)
}

/// Replaces the version `replaces`; false if that is not the version stored. Id, role and parent never change.
pub fn update_party(
    connection: &mut dyn Connection,
    party: &Party,
    replaces: u32,
    change: u64,
) -> Result<bool, StoreError> {
    let rows = connection.execute(
        "UPDATE party SET name = $1, state = $2, version = $3, change = $4 WHERE id = $5 AND version = $6",
        &[
            Value::Text(&party.name),
            Value::Text(party.state.as_str()),
            Value::Int(party.version.into()),
            Value::count(change)?,
            Value::Text(party.id.as_str()),
            Value::Int(replaces.into()),
        ],
    )?;
    Ok(rows == 1)
}

/// Stores a new client; false if the id is taken.
pub fn insert_client(connection: &mut dyn Connection, client: &Client, change: u64) -> Result<bool, StoreError> {
    let quotas = quotas_text(client)?;
    let rows = connection.execute(
        "INSERT INTO client (id, party, name, scopes, quotas, state, version, created_at, tokens_void_until, change) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
        &[
            Value::Text(client.id.as_str()),
            Value::Text(client.party.as_str()),
            Value::Text(&client.name),
            Value::Text(&client.scopes.to_string()),
            Value::Text(&quotas),
            Value::Text(client.state.as_str()),
            Value::Int(client.version.into()),
            Value::count(client.created_at.as_ms())?,
            optional_time(client.tokens_void_until)?,
            Value::count(change)?,
        ],
    )?;
    if rows == 1 {
        insert_credentials(connection, client)?;
    }
    Ok(rows == 1)
}

/// Replaces the version `replaces`; false if that is not the version stored. Party and id never change.
pub fn update_client(
    connection: &mut dyn Connection,
    client: &Client,
    replaces: u32,
    change: u64,
) -> Result<bool, StoreError> {
    let quotas = quotas_text(client)?;
    let rows = connection.execute(
        "UPDATE client SET name = $1, scopes = $2, quotas = $3, state = $4, version = $5, tokens_void_until = $6, \
         change = $7 WHERE id = $8 AND version = $9",
        &[
            Value::Text(&client.name),
            Value::Text(&client.scopes.to_string()),
            Value::Text(&quotas),
            Value::Text(client.state.as_str()),
            Value::Int(client.version.into()),
            optional_time(client.tokens_void_until)?,
            Value::count(change)?,
            Value::Text(client.id.as_str()),
            Value::Int(replaces.into()),
        ],
    )?;
    if rows == 1 {
        connection.execute("DELETE FROM client_credential WHERE client = $1", &[Value::Text(client.id.as_str())])?;
        insert_credentials(connection, client)?;
    }
    Ok(rows == 1)
}

fn insert_credentials(connection: &mut dyn Connection, client: &Client) -> Result<(), StoreError> {
    for (place, credential) in (0..).zip(&client.credentials) {
        let (kind, value) = match &credential.kind {
            CredentialKind::Secret { phc } => ("secret", phc),
            CredentialKind::Key { public_key } => ("key", public_key),
        };
        connection.execute(
            "INSERT INTO client_credential (client, place, kind, value, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                Value::Text(client.id.as_str()),
                Value::Int(place),
                Value::Text(kind),
                Value::Text(value),
                Value::count(credential.created_at.as_ms())?,
                optional_time(credential.expires_at)?,
            ],
        )?;
    }
    Ok(())
}

pub fn load_parties(connection: &mut dyn Connection) -> Result<Vec<Party>, StoreError> {
    Ok(changed_parties(connection, 0, CHANGES_MAX)?.into_iter().map(|(_, party)| party).collect())
}

/// The parties whose newest version was written by a change after `known` up to `last`, with its number.
pub fn changed_parties(
    connection: &mut dyn Connection,
    known: u64,
    last: u64,
) -> Result<Vec<(u64, Party)>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT id, name, role, state, version, created_at, change, parent FROM party \
         WHERE change > $1 AND change <= $2 ORDER BY id",
        &[Value::count(known)?, Value::count(last)?],
        &mut |row| {
            found.push((row.count(6)?, read_party(row)?));
            Ok(())
        },
    )?;
    Ok(found)
}

fn read_party(row: &dyn Row) -> Result<Party, StoreError> {
    Ok(Party {
        id: readable(PartyId::parse(row.text(0)?))?,
        name: row.text(1)?.to_owned(),
        role: readable(Role::parse(row.text(2)?))?,
        state: readable(AccessState::parse(row.text(3)?))?,
        version: version(row, 4)?,
        created_at: Timestamp::from_ms(row.count(5)?),
        parent: row.optional_text(7)?.map(|parent| readable(PartyId::parse(parent))).transpose()?,
    })
}

pub fn load_clients(connection: &mut dyn Connection) -> Result<Vec<Client>, StoreError> {
    Ok(changed_clients(connection, 0, CHANGES_MAX)?.into_iter().map(|(_, client)| client).collect())
}

/// The clients whose newest version was written by a change after `known` up to `last`, with its number.
pub fn changed_clients(
    connection: &mut dyn Connection,
    known: u64,
    last: u64,
) -> Result<Vec<(u64, Client)>, StoreError> {
    let mut found: Vec<(u64, Client)> = Vec::new();
    connection.query(
        "SELECT id, party, name, scopes, quotas, state, version, created_at, tokens_void_until, change FROM client \
         WHERE change > $1 AND change <= $2 ORDER BY id",
        &[Value::count(known)?, Value::count(last)?],
        &mut |row| {
            found.push((row.count(9)?, read_client(row)?));
            Ok(())
        },
    )?;
    for (_, client) in &mut found {
        client.credentials = load_credentials(connection, &client.id)?;
    }
    Ok(found)
}

fn read_client(row: &dyn Row) -> Result<Client, StoreError> {
    let scopes = row.text(3)?;
    Ok(Client {
        id: readable(ClientId::parse(row.text(0)?))?,
        party: readable(PartyId::parse(row.text(1)?))?,
        name: row.text(2)?.to_owned(),
        scopes: if scopes.is_empty() { Scopes::default() } else { readable(Scopes::parse(scopes))? },
        quotas: readable(serde_json::from_str::<Quotas>(row.text(4)?).ok())?,
        state: readable(AccessState::parse(row.text(5)?))?,
        version: version(row, 6)?,
        created_at: Timestamp::from_ms(row.count(7)?),
        tokens_void_until: read_optional_time(row, 8)?,
        credentials: Vec::new(),
    })
}

fn load_credentials(connection: &mut dyn Connection, client: &ClientId) -> Result<Vec<Credential>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT kind, value, created_at, expires_at FROM client_credential WHERE client = $1 ORDER BY place",
        &[Value::Text(client.as_str())],
        &mut |row| {
            let value = row.text(1)?.to_owned();
            found.push(Credential {
                kind: match row.text(0)? {
                    "secret" => CredentialKind::Secret { phc: value },
                    "key" => CredentialKind::Key { public_key: value },
                    _ => return Err(StoreError::Corrupt("an unknown kind of credential")),
                },
                created_at: Timestamp::from_ms(row.count(2)?),
                expires_at: read_optional_time(row, 3)?,
            });
            Ok(())
        },
    )?;
    Ok(found)
}

fn quotas_text(client: &Client) -> Result<String, StoreError> {
    serde_json::to_string(&client.quotas).map_err(|_| StoreError::Corrupt("quotas that JSON cannot hold"))
}

fn optional_time(time: Option<Timestamp>) -> Result<Value<'static>, StoreError> {
    time.map_or(Ok(Value::Null), |time| Value::count(time.as_ms()))
}

fn read_optional_time(row: &dyn Row, column: usize) -> Result<Option<Timestamp>, StoreError> {
    match row.optional_int(column)? {
        None => Ok(None),
        Some(_) => row.count(column).map(|ms| Some(Timestamp::from_ms(ms))),
    }
}

fn version(row: &dyn Row, column: usize) -> Result<u32, StoreError> {
    u32::try_from(row.int(column)?).map_err(|_| StoreError::Corrupt("a version over 2^32"))
}

fn readable<T>(value: Option<T>) -> Result<T, StoreError> {
    value.ok_or(StoreError::Corrupt("an access record that cannot be read"))
}

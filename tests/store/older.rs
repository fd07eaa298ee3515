//! A registry that an older version made: what is brought up to date must be what a new one is, with nothing of it lost.

use super::postgres::{Postgres, query};
use super::{Bench, at};
use canhbao::domain::party::PartyId;
use canhbao::domain::{FlagId, Subject};
use canhbao::store::postgres::{Address, PostgresStore};
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::{Store, answered, flags};
use tokio_postgres::NoTls;

/// The schemas of migration 4, the first that both engines had.
const SQLITE: &str = include_str!("older/sqlite-4.sql");
const POSTGRES: &str = include_str!("older/postgres-4.sql");
const FLAGS: [&str; 2] = ["flag_01m87j4a0rexpbakk89c5cfnec", "flag_01m87j4a0re1aratxf5ba0psqj"];

/// What such a registry held: a flag that was raised and approved, one of a demo, which was there as approved at once, and an
/// archive.
/// `bytes` writes bytes as the engine does.
fn rows(bytes: fn(&[u8; 16]) -> String) -> String {
    let id = |name| bytes(FlagId::parse(name).unwrap().as_bytes());
    let [raised, sown] = FLAGS.map(id);
    let body = |flag: &str, state: &str, version: u32| {
        format!(
            r#"{{"id":"{flag}","subject":"person:001099012345","verdict":"hold","category":"mule","case":"C-1","reason":"A reason",
            "source":{{"kind":"police","reference":null}},"linked":["account:970436:1234567890"],"urgency":"normal","state":"{state}",
            "version":{version},"raised_by":{{"party":"hanoi-police","client":"officer"}},"raised_at":"2026-11-24T03:00:00.000Z"}}"#
        )
    };
    let [first, second, only] =
        [(FLAGS[0], "proposed", 1), (FLAGS[0], "active", 2), (FLAGS[1], "active", 2)].map(|(f, s, v)| body(f, s, v));
    let flag = |id: &str| {
        format!(
            "INSERT INTO flag (id, subject, verdict, category, case_ref, state, version, since, expires_at, document, linked) \
             VALUES ({id}, 'person:001099012345', 'hold', 'mule', 'C-1', 'active', 2, 1795489200000, NULL, NULL, \
             'account:970436:1234567890');"
        )
    };
    let version = |id: &str, version: u32, change: u32, body: &str| {
        format!("INSERT INTO flag_version (flag, version, change, body) VALUES ({id}, {version}, {change}, '{body}');")
    };
    let mut sql = "INSERT INTO registry (id, name, created_at) VALUES (1, 'registry.example', 0);\
                   INSERT INTO change_head (id, number) VALUES (1, 3);\
                   INSERT INTO party (id, name, role, state, version, created_at, change) \
                   VALUES ('hanoi-police', 'City', 'police', 'enabled', 1, 0, 1);\
                   INSERT INTO log (node, number) VALUES ('a', 0);\
                   INSERT INTO log_checkpoint (place, at, note) VALUES (300, 0, 'note');"
        .to_owned();
    for number in 1..=4 {
        sql += &format!("INSERT INTO schema_migration (number, applied_at) VALUES ({number}, 0);");
    }
    for number in 1..=3 {
        sql += &format!(
            "INSERT INTO change (number, at, node, log_index, kind) VALUES ({number}, 0, 'a', {number}, 'flag');"
        );
    }
    let digest = bytes(&[9; 16]);
    sql += &format!(
        "INSERT INTO log_archive (place, size, at_max, sealed_at, file_name, digest) VALUES (0, 300, 0, 0, 'a', {digest});"
    );
    sql += &[flag(&raised), flag(&sown), version(&raised, 1, 1, &first), version(&raised, 2, 2, &second)].concat();
    sql + &version(&sown, 2, 3, &only)
}

fn holds_what_it_held(store: &dyn Store) {
    let owner = PartyId::parse("hanoi-police").unwrap();
    for id in FLAGS {
        let id = FlagId::parse(id).unwrap();
        let flag = store.find(|connection| flags::find(connection, id)).unwrap().unwrap();
        assert_eq!(flag.unit(), &owner);
        assert_eq!(flag.linked, [Subject::from_canonical("account:970436:1234567890").unwrap()]);
        let archived = store.find(|connection| answered::archived(connection, id)).unwrap();
        assert!(archived.parties.is_empty());
        let log = &archived.logs[0];
        assert_eq!((log.end, log.answered_from), (300, 300), "nothing is known of it");
    }
}

#[test]
fn an_older_embedded_registry_becomes_what_a_new_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let older = rusqlite::Connection::open(&path).unwrap();
    older.execute_batch(SQLITE).unwrap();
    older.execute_batch(&rows(|id| format!("x'{}'", id.map(|byte| format!("{byte:02x}")).concat()))).unwrap();
    older.close().unwrap();
    holds_what_it_held(&SqliteStore::open(&path, at(0)).unwrap());
    let new = Bench::sqlite();
    let database = |path| rusqlite::Connection::open(path).unwrap();
    let (old, new) = (database(path), database(new.path()));
    let listed = |database: &rusqlite::Connection, sql: &str| -> Vec<String> {
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    for sql in [
        "SELECT type || ' ' || name || ' ' || tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name",
        "SELECT m.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk FROM sqlite_master AS m, \
         pragma_table_info(m.name) AS c ORDER BY m.name, c.cid",
        "SELECT m.name || ' ' || c.seqno || ' ' || c.name FROM sqlite_master AS m, pragma_index_info(m.name) AS c \
         WHERE m.type = 'index' ORDER BY m.name, c.seqno",
    ] {
        assert_eq!(listed(&old, sql), listed(&new, sql));
    }
    let newest = "SELECT CAST(MAX(number) AS TEXT) FROM schema_migration";
    assert_eq!(listed(&old, newest), listed(&new, newest));
}

#[test]
fn an_older_shared_registry_becomes_what_a_new_one_is() {
    let [old, new] = std::array::from_fn(|_| Postgres::shared().create_database());
    let bytes = |id: &[u8; 16]| format!("'\\x{}'", id.map(|byte| format!("{byte:02x}")).concat());
    run(&old, &[POSTGRES, &rows(bytes)].concat());
    let [older, newer] = [&old, &new].map(|url| Address::parse(url).unwrap());
    holds_what_it_held(&PostgresStore::open(&older, at(0)).unwrap());
    PostgresStore::create(&newer, "registry.example", at(0)).unwrap();
    PostgresStore::open(&newer, at(0)).unwrap();
    for sql in [
        "SELECT CONCAT_WS(' ', table_name, column_name, data_type, is_nullable, collation_name, column_default) \
         FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef",
        "SELECT CONCAT_WS(' ', tgrelid::regclass, tgname, pg_get_triggerdef(oid)) FROM pg_trigger \
         WHERE NOT tgisinternal ORDER BY 1",
        "SELECT MAX(number)::TEXT FROM schema_migration",
    ] {
        let listed = |url| query(url, sql, &[]).iter().map(|row| row.get(0)).collect::<Vec<String>>();
        assert_eq!(listed(&old), listed(&new));
    }
}

/// Many statements at once.
fn run(url: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let (done, _) = tokio::join!(
            async {
                let done = client.batch_execute(sql).await;
                drop(client);
                done
            },
            connection
        );
        done.unwrap();
    });
}

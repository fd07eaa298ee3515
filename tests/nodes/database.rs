//! The tests' own PostgreSQL does what the tests of nodes take from it.

use crate::support::postgres::{KEYED, Postgres, query, try_query};

#[test]
fn what_was_committed_survives_a_crash_of_the_database() {
    let postgres = Postgres::start();
    let url = postgres.create_database();
    query(&url, "CREATE TABLE kept (number BIGINT)", &[]);
    query(&url, "INSERT INTO kept (number) VALUES ($1)", &[&7_i64]);
    postgres.crash();
    assert!(try_query(&url, "SELECT 1", &[]).is_err(), "it answers after its end");
    postgres.start_again();
    let number: i64 = query(&url, "SELECT number FROM kept", &[])[0].get(0);
    assert_eq!(number, 7);
    let copy = postgres.copy_database(&url);
    query(&url, "DELETE FROM kept", &[]);
    assert_eq!(query(&copy, "SELECT number FROM kept", &[]).len(), 1);
    postgres.stop();
    postgres.start_again();
    assert!(query(&url, "SELECT number FROM kept", &[]).is_empty());
}

#[test]
fn a_database_is_crash_safe_and_its_owner_is_no_superuser() {
    let postgres = Postgres::shared();
    let url = postgres.create_database();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(query(&url, &format!("SHOW {setting}"), &[])[0].get::<_, String>(0), "on", "{setting}");
    }
    let is_superuser: bool = query(&url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[])[0].get(0);
    assert!(!is_superuser);
    let keyed = postgres.create_keyed_database();
    assert!(try_query(&keyed, "SELECT 1", &[]).is_err(), "no password was asked for");
    let with_password = keyed.replacen('@', &format!(":{}@", KEYED.1.replace(' ', "%20")), 1);
    query(&with_password, "CREATE TABLE own (number BIGINT)", &[]);
}

//! canhbao: a registry of flagged payment accounts and e-wallets. Police keep it, banks ask it at transaction time,
//! auditors can prove what it answered. Layers, from the bottom: domain, clock and behind, store, index and log and auth and
//! register, registry, http, server and command line; an import goes down, never up, never sideways (tests/tidy.rs).

pub mod auth;
pub mod behind;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod entropy;
pub mod http;
pub mod index;
pub mod log;
pub mod register;
pub mod registry;
pub mod server;
pub mod sheet;
pub mod store;

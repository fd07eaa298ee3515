//! Where a registry's PostgreSQL is, read from a URL. It holds the password and never shows it; a connection that somebody
//! on the way could read or answer is refused here.

use secrecy::SecretString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

const PORT: u16 = 5432;

/// `postgres://user@host:port/database?sslmode=verify-full&sslrootcert=FILE`, or, for a server on this machine,
/// `sslmode=disable` or the directory of a unix socket as host.
#[derive(Clone)]
pub struct Address {
    pub(super) user: String,
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) password: Option<SecretString>,
}

#[derive(Clone)]
pub(super) enum Place {
    /// The directory of a unix socket.
    Socket(String),
    /// A port of this machine, without TLS.
    Loopback(String),
    /// Any host, with TLS: its certificate is for this name and comes from one of the roots in the file.
    Host { name: String, roots: PathBuf },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("a store's URL begins with postgres://")]
    Scheme,
    #[error("the store's URL has a password; passwords are files")]
    Password,
    #[error("the store's URL names no user")]
    User,
    #[error("the store's URL names no database")]
    Database,
    #[error("the store's URL names no host, or one that cannot be")]
    Host,
    #[error("the port in the store's URL is none")]
    Port,
    #[error("the store's URL has a part that is not percent-encoded UTF-8")]
    Encoding,
    #[error("the store's URL may have host, sslmode and sslrootcert after the question mark, each once")]
    Parameter,
    #[error("sslmode of the store's URL is verify-full, or for a server on this machine disable")]
    Mode,
    #[error("sslmode=verify-full needs sslrootcert=FILE, the roots that the server's certificate may come from")]
    Roots,
    #[error("sslmode=disable is for a server on this machine alone")]
    Clear,
    #[error("a unix socket has no TLS")]
    SocketMode,
}

impl Address {
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or(AddressError::Scheme)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters = Parameters::parse(parameters)?;
        let (authority, database) = rest.split_once('/').ok_or(AddressError::Database)?;
        let (user, host) = authority.rsplit_once('@').ok_or(AddressError::User)?;
        if user.contains(':') {
            return Err(AddressError::Password);
        }
        let (host, port) = split_port(host)?;
        let host = match (decode(host)?, parameters.host) {
            (host, None) if !host.is_empty() => host,
            (host, Some(directory)) if host.is_empty() && directory.starts_with('/') => directory,
            _ => return Err(AddressError::Host),
        };
        let database = decode(database)?;
        let user = decode(user)?;
        if user.is_empty() {
            return Err(AddressError::User);
        }
        if database.is_empty() || database.contains('/') {
            return Err(AddressError::Database);
        }
        let place = place(host, parameters.mode.as_deref(), parameters.roots)?;
        Ok(Self { user, place, port, database, password: None })
    }

    /// The password lies in a file that its owner alone may read; the caller has read it.
    pub fn with_password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }
}

fn place(host: String, mode: Option<&str>, roots: Option<String>) -> Result<Place, AddressError> {
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match mode {
        None | Some("disable") if host.starts_with('/') => Ok(Place::Socket(host)),
        Some("verify-full") if host.starts_with('/') => Err(AddressError::SocketMode),
        Some("verify-full") => {
            let roots = roots.ok_or(AddressError::Roots)?.into();
            Ok(Place::Host { name: host, roots })
        }
        Some("disable") if is_loopback => Ok(Place::Loopback(host)),
        Some("disable") => Err(AddressError::Clear),
        _ => Err(AddressError::Mode),
    }
}

#[derive(Default)]
struct Parameters {
    host: Option<String>,
    mode: Option<String>,
    roots: Option<String>,
}

impl Parameters {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let mut found = Self::default();
        for parameter in text.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(AddressError::Parameter)?;
            let kept = match name {
                "host" => &mut found.host,
                "sslmode" => &mut found.mode,
                "sslrootcert" => &mut found.roots,
                "password" => return Err(AddressError::Password),
                _ => return Err(AddressError::Parameter),
            };
            if kept.replace(decode(value)?).is_some() {
                return Err(AddressError::Parameter);
            }
        }
        Ok(found)
    }
}

/// The host, out of its brackets if it has such, and the port.
fn split_port(host: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(AddressError::Host)?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("5432")).ok_or(AddressError::Port)?)
        }
        None => match host.split_once(':') {
            Some(parts) => parts,
            None => return Ok((host, PORT)),
        },
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?;
    Ok((host, port))
}

/// A plus sign stands for itself, as libpq has it.
fn decode(text: &str) -> Result<String, AddressError> {
    let (mut bytes, mut decoded) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or(AddressError::Encoding)?;
        decoded.push(u8::try_from(high * 16 + low).map_err(|_| AddressError::Encoding)?);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| AddressError::Encoding)?;
    if decoded.contains('\0') { Err(AddressError::Encoding) } else { Ok(decoded) }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, place, port, database, .. } = self;
        match place {
            Place::Socket(directory) => write!(f, "postgres://{user}@:{port}/{database}?host={directory}"),
            Place::Loopback(name) | Place::Host { name, .. } if name.contains(':') => {
                write!(f, "postgres://{user}@[{name}]:{port}/{database}")
            }
            Place::Loopback(name) | Place::Host { name, .. } => write!(f, "postgres://{user}@{name}:{port}/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn refused(url: &str) -> AddressError {
        Address::parse(url).unwrap_err()
    }

    #[test]
    fn a_host_is_reached_with_tls_alone() {
        let address = Address::parse("postgres://a%40b@db.example:6432/c?sslmode=verify-full&sslrootcert=/etc/r+1.pem");
        let address = address.unwrap();
        assert_eq!((address.user.as_str(), address.port, address.database.as_str()), ("a@b", 6432, "c"));
        let Place::Host { name, roots } = address.place else { panic!("another place") };
        assert_eq!((name.as_str(), roots.to_str()), ("db.example", Some("/etc/r+1.pem")));
        assert_eq!(refused("postgres://u@db.example/c?sslmode=verify-full"), AddressError::Roots);
        assert_eq!(refused("postgres://u@db.example/c"), AddressError::Mode);
        assert_eq!(refused("postgres://u@127.0.0.1/c"), AddressError::Mode);
        for mode in ["allow", "prefer", "require", "verify-ca", ""] {
            assert_eq!(refused(&format!("postgres://u@127.0.0.1/c?sslmode={mode}")), AddressError::Mode);
        }
        for host in ["db.example", "10.0.0.1", "[2001:db8::1]", "localhost.example"] {
            assert_eq!(refused(&format!("postgres://u@{host}/c?sslmode=disable")), AddressError::Clear);
        }
    }

    #[test]
    fn a_server_on_this_machine_needs_no_tls() {
        for (url, shown) in [
            ("postgres://u@127.0.0.1:1/c?sslmode=disable", "postgres://u@127.0.0.1:1/c"),
            ("postgres://u@localhost/c?sslmode=disable", "postgres://u@localhost:5432/c"),
            ("postgresql://u@[::1]:7/c?sslmode=disable", "postgres://u@[::1]:7/c"),
            ("postgresql://u@[::1]/c?sslmode=disable", "postgres://u@[::1]:5432/c"),
            ("postgres://u@%2Frun%2Fpg:9/c", "postgres://u@:9/c?host=/run/pg"),
            ("postgres://u@/c?host=/run/pg&sslmode=disable", "postgres://u@:5432/c?host=/run/pg"),
        ] {
            let address = Address::parse(url).unwrap().with_password("hidden".to_owned().into());
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("hidden"));
        }
        assert_eq!(refused("postgres://u@%2Frun/c?sslmode=verify-full&sslrootcert=r"), AddressError::SocketMode);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (url, error) in [
            ("registry.db", AddressError::Scheme),
            ("postgres://u:secret@127.0.0.1/c?sslmode=disable", AddressError::Password),
            ("postgres://u@127.0.0.1/c?sslmode=disable&password=secret", AddressError::Password),
            ("postgres://127.0.0.1/c?sslmode=disable", AddressError::User),
            ("postgres://@127.0.0.1/c?sslmode=disable", AddressError::User),
            ("postgres://u@127.0.0.1?sslmode=disable", AddressError::Database),
            ("postgres://u@127.0.0.1/?sslmode=disable", AddressError::Database),
            ("postgres://u@/c?sslmode=disable", AddressError::Host),
            ("postgres://u@/c?host=relative", AddressError::Host),
            ("postgres://u@127.0.0.1/c?host=/run/pg", AddressError::Host),
            ("postgres://u@[::1/c?sslmode=disable", AddressError::Host),
            ("postgres://u@127.0.0.1:0/c?sslmode=disable", AddressError::Port),
            ("postgres://u@127.0.0.1:65536/c?sslmode=disable", AddressError::Port),
            ("postgres://u@127.0.0.1/c%00?sslmode=disable", AddressError::Encoding),
            ("postgres://u@127.0.0.1/c%f?sslmode=disable", AddressError::Encoding),
            ("postgres://u@127.0.0.1/c?sslmode=disable&options=-c", AddressError::Parameter),
            ("postgres://u@127.0.0.1/c?sslmode=disable&sslmode=disable", AddressError::Parameter),
            ("postgres://u@127.0.0.1/c?sslmode", AddressError::Parameter),
        ] {
            assert_eq!(refused(url), error, "{url}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}

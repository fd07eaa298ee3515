//! The rules of the house that no lint knows, each as a test: layers, SQL in one place, sizes, words, crates, the
//! schema. Each rule is shown a text that breaks it, so that it cannot pass by looking away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From the bottom up. An import goes to a row further up in this table, or stays within its own module.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["behind", "clock", "entropy", "sheet"],
    &["store"],
    &["index", "log", "auth", "register"],
    &["registry"],
    &["http"],
    &["config"],
    &["server", "demo"],
    &["cli"],
    &["main"],
];
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const STATEMENTS: &[&str] =
    &["SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ", "CREATE TABLE", "ALTER TABLE", "DROP TABLE", "PRAGMA"];
/// What one engine knows and the other does not, or not in the same way; upper case.
const ONE_ENGINE: &[&str] = &[
    "PRAGMA",
    "ATTACH ",
    "AUTOINCREMENT",
    "INSERT OR ",
    "REPLACE INTO",
    "ROWID",
    "STRFTIME",
    "JULIANDAY",
    "DATETIME(",
    "UNIXEPOCH",
    "IFNULL",
    "JSON_EXTRACT",
    "GLOB ",
    "FTS5",
    " MATCH ",
    "ILIKE",
    "SERIAL",
    "NOW()",
    "EXTRACT(",
    "ANY(",
    "TSVECTOR",
    "COPY ",
    "NOTIFY ",
    "FOR UPDATE",
    "BEGIN IMMEDIATE",
    "SELECT *",
    "::",
    "?",
    "`",
];
const DRIVERS: &[&str] = &["src/store/sqlite/", "src/store/postgres/"];
const CRATES_REFUSED: &[&str] = &["ring", "rsa", "actix-governor", "openssl-sys", "native-tls"];

/// A file, with what the rules look at kept apart.
struct Source {
    /// Relative to the crate's root, with `/`.
    path: String,
    /// Without the tests module at its end.
    text: String,
    /// As `text`, byte for byte, with blanks for comments and for what is between quotes.
    code: String,
    /// What is between quotes, each with its line.
    strings: Vec<(usize, String)>,
}

impl Source {
    fn new(path: &str, whole: &str) -> Self {
        let (code, _) = lex(whole);
        let text = &whole[..start_of_tests(whole, &code)];
        let (code, strings) = lex(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, strings }
    }

    /// The module directly below the crate's root, and how many modules lie between the root and this one, itself included.
    fn module(&self) -> (&str, usize) {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        let below = below.strip_suffix("/mod").unwrap_or(below);
        (below.split('/').next().unwrap_or(below), below.split('/').count())
    }
}

/// Where the tests module at the end of a file begins; its end if it has none.
fn start_of_tests(whole: &str, code: &str) -> usize {
    let mark = "\n#[cfg(test)]\n";
    for (at, _) in code.match_indices(mark) {
        let next = whole[at + mark.len()..].lines().find(|line| !line.starts_with("#["));
        if next.is_some_and(|line| line.ends_with("{") && line.contains("mod ")) {
            return at + 1;
        }
    }
    whole.len()
}

/// Blanks comments and quoted text, and returns the latter.
fn lex(text: &str) -> (String, Vec<(usize, String)>) {
    let bytes = text.as_bytes();
    let (mut code, mut strings) = (bytes.to_vec(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (from, to, end) = if rest.starts_with(b"//") {
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            (at, at + length, at + length)
        } else if rest.starts_with(b"/*") {
            let length = find(rest, b"*/").map_or(rest.len(), |place| place + 2);
            (at, at + length, at + length)
        } else if let Some((open, close)) = raw_string(rest).filter(|_| at == 0 || !is_word(bytes[at - 1])) {
            let length = find(&rest[open..], close.as_bytes()).unwrap_or(rest.len() - open);
            strings.push((line_of(text, at), text[at + open..at + open + length].to_owned()));
            (at + open, at + open + length, at + open + length + close.len())
        } else if rest[0] == b'"' {
            let length = string_length(&rest[1..]);
            strings.push((line_of(text, at), text[at + 1..at + 1 + length].to_owned()));
            (at + 1, at + 1 + length, at + 2 + length)
        } else if let Some(length) = char_length(rest) {
            (at + 1, at + length - 1, at + length)
        } else {
            (at, at, at + 1)
        };
        for byte in &mut code[from..to.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    (String::from_utf8(code).unwrap(), strings)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Where the content of a raw string begins, and what ends it.
fn raw_string(rest: &[u8]) -> Option<(usize, String)> {
    let letters = [&b"r"[..], b"br"].into_iter().find(|letters| rest.starts_with(letters))?.len();
    let hashes = rest[letters..].iter().take_while(|byte| **byte == b'#').count();
    let opens = rest.get(letters + hashes) == Some(&b'"');
    opens.then(|| (letters + hashes + 1, format!("\"{}", "#".repeat(hashes))))
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at.min(rest.len())
}

/// The length of a character literal, quotes included; a lifetime is none.
fn char_length(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' {
        return None;
    }
    let text = std::str::from_utf8(rest).ok()?;
    let mut chars = text.char_indices().skip(1);
    match chars.next()? {
        (_, '\\') => text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map(|(at, _)| at + 3),
        _ => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where `word` stands alone in `code`.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].bytes().next_back();
        let after = code[at + word.len()..].bytes().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The modules below the crate's root that a file names, each with where.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let (_, depth) = source.module();
    let roots = ["crate::".to_owned(), "canhbao::".to_owned(), "super::".repeat(depth)];
    let mut found = Vec::new();
    for root in &roots {
        for (at, _) in source.code.match_indices(root.as_str()) {
            if at > 0 && (is_word(source.code.as_bytes()[at - 1]) || source.code[..at].ends_with("::")) {
                continue;
            }
            let line = line_of(&source.code, at);
            found.extend(first_names(&source.code[at + root.len()..]).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// `a` of `a::b`; `a` and `c` of `{a::b, c::{d, e}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let (module, _) = source.module();
    if module == "lib" {
        return Vec::new();
    }
    let Some(own) = layer(module) else { return vec![format!("{}: {module} is in no layer", source.path)] };
    let wrong = |(line, name): (usize, String)| {
        let fault = match layer(&name) {
            None => "which is in no layer",
            Some(_) if name == module => return None,
            Some(other) if other == own => "which is beside it",
            Some(other) if other > own => "which is above it",
            Some(_) => return None,
        };
        Some(format!("{}:{line}: {module} uses {name}, {fault}", source.path))
    };
    imports(source).into_iter().filter_map(wrong).collect()
}

fn undeclared_layers(lib: &Source) -> Vec<String> {
    let declared = lib.code.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    declared
        .filter(|module| layer(module).is_none())
        .map(|module| format!("src/lib.rs: {module} is in no layer"))
        .collect()
}

fn sql_outside_store(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/store/") {
        return Vec::new();
    }
    let is_sql = |text: &str| STATEMENTS.iter().any(|statement| text.contains(statement));
    let found = source.strings.iter().filter(|(_, text)| is_sql(text));
    found.map(|(line, _)| format!("{}:{line}: SQL outside src/store", source.path)).collect()
}

/// The statements that every driver must be able to run, each with its line; those of one driver stand in its folder.
fn shared_statements(source: &Source) -> impl Iterator<Item = &(usize, String)> {
    let is_shared = source.path.starts_with("src/store/") && !DRIVERS.iter().any(|path| source.path.starts_with(path));
    let is_statement = |text: &String| {
        let upper = text.to_uppercase();
        STATEMENTS.iter().any(|statement| upper.contains(statement))
    };
    source.strings.iter().filter(move |(_, text)| is_shared && is_statement(text))
}

fn one_engine_sql(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (line, text) in shared_statements(source) {
        let upper = text.to_uppercase();
        let engines = ONE_ENGINE.iter().filter(|construct| upper.contains(**construct));
        found.extend(engines.map(|construct| format!("{}:{line}: {construct} is of one engine", source.path)));
    }
    found
}

/// SQLite numbers `$1` by its first appearance whatever its digits say, so that they must say the same.
fn parameters_out_of_order(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (line, text) in shared_statements(source) {
        let numbers = text.split('$').skip(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap_or_default()
        });
        if numbers.enumerate().any(|(place, number)| number != place + 1) {
            found.push(format!("{}:{line}: parameters are $1, $2 ... in order of appearance", source.path));
        }
    }
    found
}

fn long_files(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let long = lines > FILE_LINES_MAX;
    long.then(|| format!("{}: {lines} lines without tests, {FILE_LINES_MAX} at most", source.path))
        .into_iter()
        .collect()
}

fn long_functions(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for at in words(&source.code, "fn") {
        let Some(end) = end_of_function(&source.code[at..]) else { continue };
        let lines = source.code[at..at + end].matches('\n').count() + 1;
        if lines > FUNCTION_LINES_MAX {
            let line = line_of(&source.code, at);
            found.push(format!("{}:{line}: a function of {lines} lines, {FUNCTION_LINES_MAX} at most", source.path));
        }
    }
    found
}

/// From `fn` to its closing brace; `None` for a declaration or a type.
fn end_of_function(code: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' | ',' | '=' if braces == 0 && brackets <= 0 => return None,
            '{' if brackets == 0 => braces += 1,
            '}' if brackets == 0 => {
                braces -= 1;
                if braces <= 0 {
                    return (braces == 0).then_some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn no_heading(source: &Source) -> Vec<String> {
    let missing = !source.text.starts_with("//!");
    missing.then(|| format!("{}: does not start with //!", source.path)).into_iter().collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let found = words(&source.code, "unsafe");
    found.map(|at| format!("{}:{}: unsafe", source.path, line_of(&source.code, at))).collect()
}

/// Looks at the whole text: such marks stand in comments, and an ignored test is one.
fn unfinished(path: &str, whole: &str) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[", "ignore")];
    let mut found = Vec::new();
    for (place, line) in whole.lines().enumerate() {
        let marked = marks.iter().filter(|mark| line.contains(**mark));
        found.extend(marked.map(|mark| format!("{path}:{}: {mark}", place + 1)));
    }
    found
}

/// Looks at what is built, as `cargo tree` tells it: Cargo.lock also names optional crates that nothing enables.
fn refused_crates(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| CRATES_REFUSED.contains(name)).map(|name| format!("in the tree: {name}")).collect()
}

fn columns_without_comment(path: &str, schema: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut table = None;
    for (place, line) in schema.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            table = rest.split([' ', '(']).next();
        } else if line.starts_with(')') {
            table = None;
        } else if let Some(table) = table {
            let column = line.trim_start();
            let is_column = column.starts_with(|c: char| c.is_ascii_lowercase());
            let comment = line.split_once("--").map(|(_, comment)| comment.trim()).unwrap_or_default();
            if is_column && comment.is_empty() {
                let name = column.split(' ').next().unwrap_or_default();
                found.push(format!("{path}:{}: {table}.{name} has no comment", place + 1));
            }
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder, paths relative to the root.
fn files_below(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((relative(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn sources() -> Vec<Source> {
    let sources: Vec<Source> = files_below("src").iter().map(|(path, text)| Source::new(path, text)).collect();
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn assert_tidy(violations: impl IntoIterator<Item = String>) {
    let violations: Vec<String> = violations.into_iter().collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn assert_caught(violations: &[String], expected: &[&str]) {
    assert_eq!(violations.len(), expected.len(), "{violations:#?}");
    for (violation, expected) in violations.iter().zip(expected) {
        assert!(violation.contains(expected), "{violation:?} does not tell {expected:?}");
    }
}

#[test]
fn imports_go_down() {
    assert_tidy(sources().iter().flat_map(wrong_imports));
}

#[test]
fn an_import_that_goes_up_or_sideways_is_caught() {
    let up = Source::new("src/store/sqlite/mod.rs", "use crate::log::Log;\nuse crate::domain::Subject;\n");
    assert_caught(&wrong_imports(&up), &["sqlite/mod.rs:1: store uses log, which is above it"]);
    let sideways = Source::new("src/log/writer.rs", "fn f() {\n    crate::auth::install();\n}\n");
    assert_caught(&wrong_imports(&sideways), &["writer.rs:2: log uses auth, which is beside it"]);
    let group = Source::new("src/index.rs", "use crate::{domain::{Subject, Verdict}, http::routes, store};\n");
    assert_caught(&wrong_imports(&group), &["index uses http"]);
    let by_super = Source::new("src/index.rs", "use super::registry::Registry;\n");
    assert_caught(&wrong_imports(&by_super), &["index uses registry"]);
    let by_two = Source::new("src/log/writer.rs", "use super::super::http;\nuse super::entry;\n");
    assert_caught(&wrong_imports(&by_two), &["log uses http"]);
    let unknown = Source::new("src/extra.rs", "//! New.\n");
    assert_caught(&wrong_imports(&unknown), &["extra is in no layer"]);
}

#[test]
fn an_import_that_goes_down_or_stays_inside_is_not_caught() {
    let source = Source::new(
        "src/http/flags.rs",
        "// crate::cli is only spoken of.\nuse super::problem::Problem;\nuse crate::http::edge;\nuse crate::registry::Registry;\n\
         const TEXT: &str = \"crate::cli\";\n#[cfg(test)]\nmod tests {\n    use crate::cli::run;\n}\n",
    );
    assert_tidy(wrong_imports(&source));
}

#[test]
fn every_module_is_in_a_layer() {
    assert_tidy(undeclared_layers(&Source::new("src/lib.rs", &read("src/lib.rs"))));
}

#[test]
fn a_module_without_a_layer_is_caught() {
    let lib = Source::new("src/lib.rs", "pub mod domain;\npub mod misc;\n");
    assert_caught(&undeclared_layers(&lib), &["misc is in no layer"]);
}

#[test]
fn sql_stands_in_the_store_alone() {
    assert_tidy(sources().iter().flat_map(sql_outside_store));
}

#[test]
fn sql_elsewhere_is_caught() {
    let text =
        "// SELECT in a comment\nconst A: &str = \"SELECT id FROM flag\";\nconst B: &str = r#\"DELETE FROM flag\"#;\n";
    let expected = ["flags.rs:2: SQL", "flags.rs:3: SQL"];
    assert_caught(&sql_outside_store(&Source::new("src/registry/flags.rs", text)), &expected);
    assert_tidy(sql_outside_store(&Source::new("src/store/flags.rs", text)));
}

#[test]
fn statements_are_of_no_single_engine() {
    assert_tidy(sources().iter().flat_map(one_engine_sql));
}

#[test]
fn parameters_stand_in_order() {
    assert_tidy(sources().iter().flat_map(parameters_out_of_order));
}

#[test]
fn parameters_out_of_order_are_caught() {
    for values in ["$2, $1", "$1, $1", "$2", "$1, $3", "$a"] {
        let text = format!("const A: &str = \"INSERT INTO a (b, c) VALUES ({values})\";\n");
        assert_caught(&parameters_out_of_order(&Source::new("src/store/flags.rs", &text)), &["flags.rs:1"]);
    }
    let in_order = "const A: &str = \"UPDATE a SET b = $1 \\\n WHERE c = $2\";\n";
    assert_tidy(parameters_out_of_order(&Source::new("src/store/flags.rs", in_order)));
}

#[test]
fn sql_of_one_engine_is_caught() {
    for statement in [
        "INSERT OR REPLACE INTO flag (id) VALUES ($1)",
        "SELECT rowid FROM flag",
        "SELECT id FROM flag WHERE id = ?1",
        "SELECT strftime('%s', at) FROM change",
        "SELECT id FROM flag FOR UPDATE",
        "select * from flag",
        "PRAGMA synchronous",
        "SELECT json_extract(body, '$.id') FROM flag_version",
        "SELECT id::TEXT FROM flag",
        "SELECT id FROM flag WHERE id = ANY($1)",
        "SELECT EXTRACT(YEAR FROM at) FROM change",
        "SELECT id FROM flag WHERE body MATCH $1",
        "ATTACH DATABASE $1 AS b; SELECT id FROM b.flag",
        "SELECT id FROM flag WHERE id GLOB 'a'",
        "COPY flag TO STDOUT; SELECT 1",
    ] {
        let text = format!("const A: &str = \"{statement}\";\n");
        let caught = one_engine_sql(&Source::new("src/store/flags.rs", &text));
        assert!(!caught.is_empty(), "{statement}");
        for driver in ["src/store/sqlite/mod.rs", "src/store/postgres/mod.rs"] {
            assert_tidy(one_engine_sql(&Source::new(driver, &text)));
        }
    }
    let shared = "const A: &str = \"INSERT INTO a (b) VALUES ($1) ON CONFLICT (b) DO NOTHING\";\n";
    assert_tidy(one_engine_sql(&Source::new("src/store/flags.rs", shared)));
}

#[test]
fn files_are_short() {
    assert_tidy(sources().iter().flat_map(long_files));
}

#[test]
fn a_long_file_is_caught_and_its_tests_do_not_count() {
    let long = "fn f() {}\n".repeat(FILE_LINES_MAX + 1);
    assert_caught(&long_files(&Source::new("src/a.rs", &long)), &["401 lines"]);
    let tests = format!("fn f() {{}}\n\n#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {{\n{long}}}\n");
    assert_tidy(long_files(&Source::new("src/a.rs", &tests)));
}

#[test]
fn functions_are_short() {
    assert_tidy(sources().iter().flat_map(long_functions));
}

#[test]
fn a_long_function_is_caught() {
    let body = "    let brace = '{';\n".repeat(FUNCTION_LINES_MAX - 2);
    let of_70 = format!("fn f(a: [u8; 2]) -> fn(u8) {{\n{body}}}\n");
    assert_tidy(long_functions(&Source::new("src/a.rs", &of_70)));
    let of_71 = format!("type F = fn();\ntrait T {{ fn g(); }}\nfn f() {{\n{body}    let brace = \"{{\";\n}}\n");
    assert_caught(&long_functions(&Source::new("src/a.rs", &of_71)), &["a.rs:3: a function of 71 lines"]);
}

#[test]
fn files_say_what_they_are() {
    assert_tidy(sources().iter().flat_map(no_heading));
}

#[test]
fn a_file_without_a_heading_is_caught() {
    assert_caught(&no_heading(&Source::new("src/a.rs", "use std::fs;\n//! Late.\n")), &["does not start"]);
}

#[test]
fn nothing_is_unsafe() {
    assert_tidy(sources().iter().flat_map(unsafe_code));
}

#[test]
fn unsafe_code_is_caught() {
    let text = "// unsafe\n#![forbid(unsafe_code)]\nfn f() {\n    unsafe { g() }\n}\n";
    assert_caught(&unsafe_code(&Source::new("src/a.rs", text)), &["a.rs:4"]);
}

#[test]
fn nothing_is_left_unfinished() {
    let files = ["src", "tests", "benches"].into_iter().flat_map(files_below);
    assert_tidy(files.flat_map(|(path, text)| unfinished(&path, &text)));
}

#[test]
fn an_unfinished_mark_is_caught() {
    let text = format!("// {}: later\n#[test]\n{}]\nfn f() {{}}\n", concat!("TO", "DO"), concat!("#[", "ignore"));
    assert_caught(&unfinished("src/a.rs", &text), &["a.rs:1", "a.rs:3"]);
}

#[test]
fn no_refused_crate_is_in_the_tree() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--target", "all", "--edges", "all", "--prefix", "none", "--format", "{p}"]);
    let output = tree.current_dir(root()).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && tree.contains("aws-lc-rs "), "{}", String::from_utf8_lossy(&output.stderr));
    assert_tidy(refused_crates(&tree));
}

#[test]
fn a_refused_crate_is_caught() {
    let tree = "canhbao v0.1.0 (/somewhere)\nring v0.17.14\nring-io v1.0.0\n";
    assert_caught(&refused_crates(tree), &["in the tree: ring"]);
}

#[test]
fn every_column_has_a_comment() {
    for path in
        ["schema.sql", "src/store/search.sql", "src/store/postgres/schema.sql", "src/store/sqlite/register/schema.sql"]
    {
        assert_tidy(columns_without_comment(path, &read(path)));
    }
}

#[test]
fn a_column_without_a_comment_is_caught() {
    let schema = "-- Flags.\nCREATE TABLE flag (\n    id BLOB NOT NULL, -- whose\n    state TEXT NOT NULL,\n    PRIMARY KEY (id)\n);\n";
    assert_caught(&columns_without_comment("schema.sql", schema), &["schema.sql:4: flag.state"]);
}

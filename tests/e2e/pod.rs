//! What runs in the Pods of the end-to-end test, with the standard library alone. Without arguments it pauses: the
//! container that holds a Pod's namespaces. `workload TOKEN-FILE HOST:PORT PATH` calls an app with the token that it reads
//! from a file each time, four times a second, and says what came of it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["workload", file, address, path] => workload(file, address, path),
        [] | ["pause"] => pause(),
        _ => {
            eprintln!("usage: pod [workload TOKEN-FILE HOST:PORT PATH]");
            std::process::exit(2);
        }
    }
}

fn pause() {
    loop {
        std::thread::park();
    }
}

fn workload(file: &str, address: &str, path: &str) {
    loop {
        match std::fs::read_to_string(file) {
            Ok(token) => println!("{} {}", call(&token, address, path), mark(&token)),
            Err(error) => println!("no-token {error}"),
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The status of the answer, or why there is none.
fn call(token: &str, address: &str, path: &str) -> String {
    match ask(token, address, path) {
        Ok(answer) => answer.split_whitespace().nth(1).unwrap_or("no-status").to_owned(),
        Err(error) => format!("failed({:?})", error.kind()),
    }
}

fn ask(token: &str, address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Tells one token from another, and nothing of either.
fn mark(token: &str) -> String {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    format!("{:04x}", hasher.finish() & 0xffff)
}

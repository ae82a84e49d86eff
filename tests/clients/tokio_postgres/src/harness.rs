//! Runs the features of the driver and says how each went: one line of JSON for each.

use std::env;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use serde_json::json;
use tokio_postgres::error::SqlState;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome = Result<Verdict, Error>;

/// How a feature went, with a detail worth telling.
pub enum Verdict {
    Passed(String),
    /// The server refused by name what needs a session, as it should.
    Refused(String),
}

pub fn passed() -> Outcome {
    Ok(Verdict::Passed(String::new()))
}

/// Which of several processes this is: it has tables of its own, under the same statement names.
pub fn worker() -> i32 {
    variable("CLIENT_WORKER", "0").parse().expect("a number")
}

pub fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.into())
}

pub fn label(id: i32) -> String {
    format!("{}:{id}", worker())
}

/// The version of the driver in the lock file that this program was built with.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let package = lock.split("name = \"tokio-postgres\"\nversion = \"").nth(1);
    package.and_then(|rest| rest.split('"').next()).expect("the driver is locked")
}

#[derive(Default)]
pub struct Harness {
    pub has_failed: bool,
}

impl Harness {
    pub fn start() -> Self {
        println!("{}", json!({"driver": "tokio-postgres", "version": version()}));
        Self::default()
    }

    pub async fn feature(&mut self, name: &str, attempt: impl Future<Output = Outcome>) {
        let seconds = variable("CLIENT_SECONDS", "20").parse().expect("a number");
        let (outcome, detail) = match tokio::time::timeout(Duration::from_secs(seconds), attempt).await {
            Ok(Ok(Verdict::Passed(detail))) => ("passed", detail),
            Ok(Ok(Verdict::Refused(detail))) => ("refused", detail),
            Ok(Err(error)) => ("failed", described(error.as_ref())),
            Err(_) => ("failed", format!("no answer within {seconds} s")),
        };
        self.has_failed |= outcome == "failed";
        println!("{}", json!({"feature": name, "outcome": outcome, "detail": detail}));
    }
}

/// With the error beneath it, which is the server's.
fn described(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What used something that needs a session of its own: it worked, or was refused by name.
pub fn needs_session(result: Result<(), Error>) -> Outcome {
    if variable("CLIENT_REFUSES", "0") != "1" {
        return result.and_then(|()| passed());
    }
    let error = result.err().ok_or("a refusal was expected, and none came")?;
    match error.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.as_db_error()) {
        Some(refusal) if *refusal.code() == SqlState::FEATURE_NOT_SUPPORTED => {
            Ok(Verdict::Refused(format!("{} {}", refusal.code().code(), refusal.message())))
        }
        _ => Err(error),
    }
}

pub fn expect_code<T>(code: SqlState, result: Result<T, tokio_postgres::Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Err(format!("an error {} was expected, and none came", code.code()).into()),
        Err(error) if error.code() == Some(&code) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub fn expect_equal<T: PartialEq + Debug>(expected: T, got: T) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(format!("expected {expected:?}, got {got:?}").into())
}

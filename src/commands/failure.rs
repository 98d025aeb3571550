//! How a command ends: exit codes (sysexits) and the sentence that goes with them.

use std::process::ExitCode;

/// Exit codes of docs/reference/commands.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The answer is no: a check or comparison failed.
    No = 1,
    /// Wrong usage.
    Usage = 64,
    /// Bad data.
    Data = 65,
    /// Input missing.
    NoInput = 66,
    /// A needed library, service or device is missing.
    Unavailable = 69,
    /// Internal error.
    Internal = 70,
    /// Reading or writing failed.
    Io = 74,
    /// No permission.
    Permission = 77,
    /// Configuration.
    Configuration = 78,
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    cause: anyhow::Error,
}

impl Failure {
    /// Ends with `code` and says `cause`.
    pub fn new(code: Code, cause: impl Into<anyhow::Error>) -> Self {
        Self { code, cause: cause.into() }
    }

    /// Ends with `code` and a sentence.
    pub fn say(code: Code, message: impl Into<String>) -> Self {
        Self { code, cause: anyhow::Error::msg(message.into()) }
    }

    /// Prints the cause and gives the process its code.
    pub fn report(&self) -> ExitCode {
        eprintln!("onenipd: {:#}", self.cause);
        ExitCode::from(self.code as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

/// Gives an error its exit code.
pub trait WithCode<T> {
    /// `code` if this is an error.
    fn code(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> WithCode<T> for Result<T, E> {
    fn code(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Code::NoInput,
            std::io::ErrorKind::PermissionDenied => Code::Permission,
            _ => Code::Io,
        };
        Self::new(code, error)
    }
}

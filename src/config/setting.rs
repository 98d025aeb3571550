//! What a type needs to be a key's type.

use super::source::Raw;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// A type of setting. Messages go on after the key's name: `line.delay is …; write …`.
pub(super) trait Setting: Sized + PartialOrd {
    /// Reads it, or says what is wrong and what to write.
    fn read(raw: &Raw) -> Result<Self, String>;
    /// As TOML.
    fn show(&self) -> String;
}

/// Reads it and holds it against its bounds.
pub(super) fn read_within<T: Setting>(
    raw: &Raw,
    bounds: Option<RangeInclusive<T>>,
) -> Result<T, String> {
    let value = T::read(raw)?;
    match bounds {
        Some(bounds) if !bounds.contains(&value) => {
            let (low, high) = (bounds.start().show(), bounds.end().show());
            Err(format!("is {}, out of range; write {low} to {high}", value.show()))
        }
        _ => Ok(value),
    }
}

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Flag(flag) => Ok(*flag),
            other => Err(format!("is {}; write true or false", other.describe())),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($Number:ty),*) => {$(
        impl Setting for $Number {
            fn read(raw: &Raw) -> Result<Self, String> {
                match raw {
                    Raw::Integer(number) => Self::try_from(*number)
                        .map_err(|_| format!("is {number}, out of range; write 0 to {}", Self::MAX)),
                    other => Err(format!("is {}; write a whole number", other.describe())),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Setting for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text().map(str::to_owned);
        text.ok_or_else(|| format!("is {}; write text in quotes", raw.describe()))
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(Self::from)
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for IpAddr {
    fn read(raw: &Raw) -> Result<Self, String> {
        let address = raw.text().and_then(|text| text.parse().ok());
        let like = "write an address like \"192.168.0.10\"";
        address.ok_or_else(|| format!("is {}; {like}", raw.describe()))
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Raw) -> Result<Self, String> {
        let address = raw.text().and_then(|text| text.parse().ok());
        let like = "write address and port like \"127.0.0.1:502\"";
        address.ok_or_else(|| format!("is {}; {like}", raw.describe()))
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Empty text is none.
impl<T: Setting> Setting for Option<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        if raw.text() == Some("") { Ok(None) } else { T::read(raw).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), T::show)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(entries) => entries.iter().map(T::read).collect(),
            other => Err(format!("is {}; write a list in brackets", other.describe())),
        }
    }

    fn show(&self) -> String {
        let entries: Vec<String> = self.iter().map(T::show).collect();
        format!("[{}]", entries.join(", "))
    }
}

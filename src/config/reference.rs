//! `config/onenipd.toml`, from the table of keys.

use super::keys;

/// The reference: every key with its default and its reason.
pub fn reference_toml() -> String {
    let mut text = String::from(
        "# Reference of the configuration: every key, its default and the reason for it.\n\
         # Made from the table in src/config/keys.rs; a test keeps the two equal.\n\
         # Durations, rates, sizes and shares carry their unit: \"400 ms\", \"5 /s\", \"2 GB\", \"10 %\".\n\
         # Later layers win: this file, conf.d/*.toml, ONENIPD_SECTION__KEY, --set section.key=value.\n",
    );
    for section in keys::sections() {
        text.push_str(&format!("\n#{}\n[{}]\n", section.about, section.name));
        for key in section.keys {
            text.push_str(&format!("#{}\n{} = {}\n", key.reason, key.name, key.default));
        }
    }
    text
}

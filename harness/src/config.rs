//! The user's configuration: which clusters a run may work on, and what looks like production.

use crate::given::{self, Unreadable};
use crate::scenario::empty_in;
use crate::yaml::{self, SyntaxError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The configuration. Without a file all of it has defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The contexts that may be used.
    pub contexts: Contexts,
    /// The definition of production.
    pub production: Production,
}

/// The contexts that may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contexts {
    /// The allowed contexts; all of them, without a list.
    pub allow: Option<Vec<Glob>>,
}

/// The definition of production. A list that is given replaces the default one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Production {
    /// The names of contexts and clusters; by default those with a word such as `prod`.
    pub contexts: Option<Vec<Glob>>,
    /// The values of labels of nodes and namespaces; by default those with a word such as `prod`, of labels that name
    /// an environment.
    pub labels: Option<BTreeMap<String, Vec<Glob>>>,
    /// The largest number of nodes that does not look like production.
    pub nodes: usize,
}

impl Default for Production {
    fn default() -> Self {
        Self { contexts: None, labels: None, nodes: 10 }
    }
}

/// A name, in which `*` stands for any characters or none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Glob(String);

impl TryFrom<String> for Glob {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Err("an empty name matches nothing") } else { Ok(Self(text)) }
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl Glob {
    /// Returns true if the pattern matches the name.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(name) = name.strip_prefix(first).and_then(|name| name.strip_suffix(last)) else {
            return false;
        };
        let after = |name: &'_ str, part: &str| name.find(part).map(|at| at + part.len());
        middle.split('*').try_fold(name, |name, part| Some(&name[after(name, part)?..])).is_some()
    }

    /// Returns true if the pattern matches the name, ignoring case.
    pub fn matches_any_case(&self, name: &str) -> bool {
        Self(self.0.to_lowercase()).matches(&name.to_lowercase())
    }
}

/// The variable that names the file.
const PATH_VARIABLE: &str = "SPANPROOF_CONFIG";

/// An error in the configuration. All of these are the user's to correct.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {why}", path.display())]
    #[diagnostic(help("this file is named by SPANPROOF_CONFIG, or is the default one"))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: Unreadable,
    },
    /// The variable that names the file is there, and empty.
    #[error("{PATH_VARIABLE} is set, but names no file")]
    #[diagnostic(help("name the configuration's file in it, or unset it"))]
    Unnamed,
    /// The file is invalid: unknown field, wrong type, not YAML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    #[diagnostic(help("every field is described in docs/clusters.md"))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// The problem, and what would be allowed.
        message: String,
        /// The file's text.
        #[source_code]
        text: Arc<miette::NamedSource<String>>,
        /// The place in it.
        #[label("here")]
        at: miette::SourceSpan,
    },
}

impl Config {
    /// Reads the file that `SPANPROOF_CONFIG` names, which must exist; or else the one in the user's configuration
    /// folder, if it exists.
    pub fn load() -> Result<Self, ConfigError> {
        let Some((path, named)) = file(&|variable| std::env::var_os(variable))? else {
            return Ok(Self::default());
        };
        // How one says that there is none.
        if path == Path::new("/dev/null") {
            return Ok(Self::default());
        }
        match given::short_text(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) if error.is_missing() && !named => Ok(Self::default()),
            Err(why) => Err(ConfigError::Read { path, why }),
        }
    }

    /// Reads a configuration's text; `path` is what messages name.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        // A file of comments says nothing, which is no mistake.
        let invalid = |SyntaxError { line, column, message, at }| ConfigError::Invalid {
            path: path.to_owned(),
            line,
            column,
            message,
            at: at.into(),
            text: Arc::new(miette::NamedSource::new(path.display().to_string(), text.to_owned())),
        };
        // A list of what may be used that is lost would allow everything.
        if let Some((at, message)) = empty_in(text) {
            let (line, column) = yaml::line_and_column(text, at);
            return Err(invalid(SyntaxError { line, column, message, at }));
        }
        let config: Option<Self> = yaml::parse(text).map_err(invalid)?;
        Ok(config.unwrap_or_default())
    }
}

/// Returns the configuration's path, and whether the user named it; none if there is no home folder either.
fn file(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<(PathBuf, bool)>, ConfigError> {
    match variable(PATH_VARIABLE) {
        Some(path) if path.is_empty() => return Err(ConfigError::Unnamed),
        Some(path) => return Ok(Some((path.into(), true))),
        None => {}
    }
    let of = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = of("XDG_CONFIG_HOME").or_else(|| of("HOME").map(|home| home.join(".config")));
    Ok(folder.map(|folder| (folder.join("spanproof").join("config.yaml"), false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("config.yaml"), text)
    }

    fn glob(text: &str) -> Glob {
        Glob::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        for text in ["", "# nothing yet\n", "contexts: {}\n"] {
            assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
        }
        let config = parse("contexts: {allow: [kind-*, staging]}\nproduction: {nodes: 3}\n").unwrap();
        assert_eq!(config.contexts.allow, Some(vec![glob("kind-*"), glob("staging")]));
        assert_eq!(config.production, Production { nodes: 3, ..Production::default() });
        let config = parse("production:\n  contexts: [prod-*]\n  labels: {team: [shop]}\n").unwrap();
        assert_eq!(config.production.contexts, Some(vec![glob("prod-*")]));
        assert_eq!(config.production.labels, Some([("team".to_owned(), vec![glob("shop")])].into()));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, place, words) in [
            ("contexts:\n  alow: [a]\n", "config.yaml:2:3: ", ["alow", "allow"]),
            ("production:\n  nodes: many\n", "config.yaml:2:10: ", ["whole number", ""]),
            ("contexts:\n  allow: [a, '']\n", "config.yaml:2:", ["empty", ""]),
            ("production: {label: {}}\n", "config.yaml:1:14: ", ["label", "labels"]),
            ("contexts:\n  allow:\n", "config.yaml:2:3: ", ["`allow` has no value", "leave the field out"]),
            ("contexts: ~\n", "config.yaml:1:1: ", ["`contexts` has no value", ""]),
            ("production:\n  labels: {team: }\n", "config.yaml:2:12: ", ["`team` has no value", ""]),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn the_file_is_where_the_user_says_or_where_configurations_are() {
        let with = |set: &'static [(&str, &str)]| {
            let variable = move |name: &str| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            file(&variable).unwrap().map(|(path, named)| (path.display().to_string(), named))
        };
        assert_eq!(with(&[]), None);
        let home = with(&[("HOME", "/home/u")]);
        assert_eq!(home, Some(("/home/u/.config/spanproof/config.yaml".to_owned(), false)));
        let xdg = with(&[("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(xdg, Some(("/x/spanproof/config.yaml".to_owned(), false)));
        let named = with(&[("SPANPROOF_CONFIG", "/c.yaml"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(named, Some(("/c.yaml".to_owned(), true)));
        let empty = file(&|name| (name == PATH_VARIABLE).then(OsString::new));
        assert!(
            matches!(empty, Err(ConfigError::Unnamed)),
            "what the user allows is not lost with a variable"
        );
    }

    #[test]
    fn a_star_is_any_characters_or_none() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", ""),
            ("*", "x"),
            ("kind-*", "kind-"),
            ("*prod*", "eu-prod-1"),
            ("a*b*c", "a-b-bc"),
        ] {
            assert!(glob(pattern).matches(name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "ab"),
            ("kind-*", "my-kind-x"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
            ("A", "a"),
            ("*a", "ab"),
        ] {
            assert!(!glob(pattern).matches(name), "{pattern} {name}");
        }
        assert!(glob("Prod-*").matches_any_case("pROD-eu"));
    }

    proptest! {
        /// A pattern with parts of a name replaced by stars matches it; the rest must be there, in order.
        #[test]
        fn a_name_with_parts_left_out_matches(parts in prop::collection::vec(("[a-c-]{0,3}", any::<bool>()), 1..6)) {
            let name: String = parts.iter().map(|(part, _)| part.as_str()).collect();
            let pattern: String =
                parts.iter().map(|(part, kept)| if *kept { part.as_str() } else { "*" }).collect();
            prop_assume!(!pattern.is_empty());
            prop_assert!(glob(&pattern).matches(&name), "{pattern} {name}");
            if !pattern.contains('*') {
                prop_assert!(!glob(&pattern).matches(&(name.clone() + "x")));
            }
            let foreign = format!("{pattern}#");
            prop_assert!(!glob(&foreign).matches(&name), "{foreign} {name}");
        }
    }
}

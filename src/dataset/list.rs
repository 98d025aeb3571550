//! Which pictures a data set holds.

use super::DatasetError;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Extensions that are taken for pictures; those without a decoder are named when read.
const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// A data set: its products, in byte order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// At least one.
    pub products: Vec<ProductData>,
}

/// The pictures of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductData {
    /// Name of its folder.
    pub name: String,
    /// Good training pictures in byte order of their names; at least one.
    pub train_good: Vec<PathBuf>,
    /// Test pictures, by folder and then by name; empty without a folder `test`.
    pub test: Vec<TestPicture>,
}

/// A picture whose truth is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPicture {
    /// The file.
    pub path: PathBuf,
    /// Kind of defect, the folder's name; `None` is good.
    pub defect: Option<String>,
    /// Mask of the defect; `None` for good ones and where there is no such file.
    pub mask: Option<PathBuf>,
}

/// Lists the data set under `root`, one folder per product; nothing is decoded.
pub fn open(root: &Path) -> Result<DataSet, DatasetError> {
    let looked_for = "give the folder that holds one folder per product, each with train/good";
    if root.join("train").join("good").is_dir() {
        return Err(DatasetError::FolderEmpty {
            folder: root.to_path_buf(),
            what: "products: it is one itself",
            remedy: "give the folder above it".into(),
        });
    }
    let folders = folders(root, looked_for)?;
    if folders.is_empty() {
        return Err(DatasetError::FolderEmpty {
            folder: root.to_path_buf(),
            what: "product",
            remedy: looked_for.into(),
        });
    }
    let products: Vec<ProductData> =
        folders.iter().map(|folder| open_product(folder)).collect::<Result<_, _>>()?;
    for (index, product) in products.iter().enumerate() {
        let name = product.name.to_lowercase();
        if let Some(twin) = products[..index].iter().find(|p| p.name.to_lowercase() == name) {
            let (first, second) = (twin.name.clone(), product.name.clone());
            return Err(DatasetError::SameName { first, second });
        }
    }
    Ok(DataSet { products })
}

/// Lists one product's folder.
pub fn open_product(folder: &Path) -> Result<ProductData, DatasetError> {
    let name = file_name(folder)?;
    let train_good = list_pictures(&folder.join("train").join("good"))?;
    let mut test = Vec::new();
    let test_folder = folder.join("test");
    if test_folder.is_dir() {
        let truth = folder.join("ground_truth");
        let truth = truth.is_dir().then_some(truth);
        for kind in folders(&test_folder, "")? {
            add_test_pictures(&kind, truth.as_deref(), &mut test)?;
        }
    }
    Ok(ProductData { name, train_good, test })
}

fn add_test_pictures(
    folder: &Path,
    truth: Option<&Path>,
    test: &mut Vec<TestPicture>,
) -> Result<(), DatasetError> {
    let kind = file_name(folder)?;
    for path in pictures(folder)? {
        if kind == "good" {
            test.push(TestPicture { path, defect: None, mask: None });
            continue;
        }
        let mask = truth.map(|truth| {
            let mut name = path.file_stem().unwrap_or_default().to_os_string();
            name.push("_mask.png");
            truth.join(&kind).join(name)
        });
        let mask = mask.filter(|mask| mask.is_file());
        test.push(TestPicture { path, defect: Some(kind.clone()), mask });
    }
    Ok(())
}

/// The pictures of a plain folder, in byte order of their names; at least one.
pub fn list_pictures(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if !folder.is_dir() {
        return Err(DatasetError::FolderMissing {
            folder: folder.to_path_buf(),
            remedy: "make it and put PNG or JPEG pictures into it".into(),
        });
    }
    let found = pictures(folder)?;
    if found.is_empty() {
        return Err(DatasetError::FolderEmpty {
            folder: folder.to_path_buf(),
            what: "picture",
            remedy: "put PNG or JPEG pictures into it".into(),
        });
    }
    Ok(found)
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        path.is_file() && EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    };
    Ok(entries(folder)?.into_iter().filter(is_picture).collect())
}

fn folders(folder: &Path, remedy: &str) -> Result<Vec<PathBuf>, DatasetError> {
    if !folder.is_dir() {
        let folder = folder.to_path_buf();
        return Err(DatasetError::FolderMissing { folder, remedy: remedy.into() });
    }
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Everything not hidden, in byte order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DatasetError::io(folder))? {
        let entry = entry.map_err(DatasetError::io(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    let key = |path: &PathBuf| path.file_name().map(|name| name.as_encoded_bytes().to_vec());
    found.sort_by_cached_key(key);
    Ok(found)
}

/// A folder's own name, also of `.` and of a path that ends in `..`.
fn file_name(folder: &Path) -> Result<String, DatasetError> {
    let whole = match folder.file_name() {
        Some(_) => folder.to_path_buf(),
        None => folder.canonicalize().map_err(DatasetError::io(folder))?,
    };
    match whole.file_name().and_then(OsStr::to_str) {
        Some(name) => Ok(name.to_owned()),
        None => Err(DatasetError::Name {
            name: folder.to_string_lossy().into_owned(),
            remedy: "rename the folder: names are UTF-8 text",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }

    #[test]
    fn lists_in_byte_order_with_truth() {
        let root = tempfile::tempdir().unwrap();
        let bolt = root.path().join("bolt");
        for file in ["train/good/b.PNG", "train/good/B.jpg", "train/good/a.jpeg", "test/good/1.png"]
        {
            touch(&bolt.join(file));
        }
        for file in ["test/dent/2.png", "ground_truth/dent/2_mask.png", "train/good/notes.txt"] {
            touch(&bolt.join(file));
        }
        touch(&root.path().join(".nut.partial/train/good/1.png"));
        touch(&root.path().join("licence.txt"));
        let data = open(root.path()).unwrap();
        assert_eq!(data.products.len(), 1);
        let product = &data.products[0];
        assert_eq!(product.name, "bolt");
        let names: Vec<_> = product.train_good.iter().map(|p| p.file_name().unwrap()).collect();
        assert_eq!(names, ["B.jpg", "a.jpeg", "b.PNG"]);
        let truth: Vec<_> = product.test.iter().map(|t| t.defect.as_deref()).collect();
        assert_eq!(truth, [Some("dent"), None]);
        assert_eq!(product.test[0].mask, Some(bolt.join("ground_truth/dent/2_mask.png")));
    }

    #[test]
    fn names_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let said = |root: &Path| open(root).unwrap_err().to_string();
        assert!(said(&root.path().join("nowhere")).contains("nowhere is missing: give"));
        assert!(said(root.path()).contains("holds no product"));
        let bolt = root.path().join("bolt");
        touch(&bolt.join("test/dent/2.png"));
        assert!(said(root.path()).contains("bolt/train/good is missing"));
        touch(&bolt.join("train/good/readme.txt"));
        assert!(said(root.path()).contains("holds no picture"));
        touch(&bolt.join("train/good/1.png"));
        assert_eq!(open(root.path()).unwrap().products[0].test[0].mask, None);
        fs::create_dir_all(bolt.join("ground_truth")).unwrap();
        assert_eq!(open(root.path()).unwrap().products[0].test[0].mask, None);
        touch(&root.path().join("Bolt/train/good/1.png"));
        assert!(said(root.path()).contains("\"Bolt\" and \"bolt\" have one name"));
        fs::remove_dir_all(root.path().join("Bolt")).unwrap();
        assert!(said(&bolt).contains("give the folder above"));
        fs::remove_dir_all(bolt.join("test")).unwrap();
        assert_eq!(open(root.path()).unwrap().products[0].test, []);
    }
}

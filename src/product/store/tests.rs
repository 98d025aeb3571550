use super::*;
use crate::part::{NamedTensors, Tensor};
use crate::product::Thresholds;
use proptest::prelude::*;

const BUNDLE: &str = "b1";

fn product(name: &str, number: u16, revision: u32) -> Product {
    let mut tensors = NamedTensors::new();
    // 0.1 is no FP16 number, so only F32 tensors may hold it.
    tensors.insert("good_tokens".into(), Tensor::new([2, 2], vec![0.5, -0.25, 0.0, 1.0]).unwrap());
    tensors.insert("fusion_scales".into(), Tensor::new([3], vec![0.0, 0.1, 3.7]).unwrap());
    let info = ProductInfo {
        number,
        name: name.into(),
        bundle_hash: BUNDLE.into(),
        revision,
        calibrated: true,
        good_pictures: 100,
        false_reject_share: 0.005,
        region_of_interest: Some(RegionOfInterest { x: 1, y: 2, width: 30, height: 40 }),
        thresholds: Thresholds { image: 1.234_567_9, pixel: 0.1 },
        notes: vec!["taught in a \"test\"".into()],
    };
    Product { info, tensors }
}

fn prompt(value: u8) -> RgbImage {
    RgbImage::from_pixel(8, 6, image::Rgb([value, 2, 3]))
}

fn store() -> (tempfile::TempDir, ProductStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ProductStore::open(folder.path());
    (folder, store)
}

#[test]
fn what_is_saved_is_loaded() {
    let (_folder, store) = store();
    assert!(store.list().unwrap().products.is_empty());
    let one = product("bolt-M6_a", 7, 1);
    store.save(&one, &prompt(9)).unwrap();
    assert_eq!(store.load("bolt-M6_a", BUNDLE).unwrap(), one);
    assert_eq!(store.prompt("bolt-M6_a").unwrap(), prompt(9));
    assert_eq!(store.by_number(7).unwrap().unwrap(), one.info);
    assert_eq!(store.by_number(8).unwrap(), None);
    assert_eq!(store.info("bolt-M6_a").unwrap(), one.info);
}

#[test]
fn a_new_revision_takes_the_place_of_the_old() {
    let (folder, store) = store();
    store.save(&product("bolt", 1, 1), &prompt(1)).unwrap();
    let identity = store.identity("bolt", None, None, "b2").unwrap();
    assert_eq!((identity.number, identity.revision), (1, 2));
    assert_eq!(identity.region_of_interest, product("bolt", 1, 1).info.region_of_interest);
    store.save(&product("bolt", 1, 2), &prompt(2)).unwrap();
    assert_eq!(store.load("bolt", BUNDLE).unwrap().info.revision, 2);
    assert_eq!(store.prompt("bolt").unwrap(), prompt(2));
    let files = fs::read_dir(folder.path().join("products/bolt")).unwrap().count();
    assert_eq!(files, 3, "the old revision's files are gone");
    let error = store.save(&product("bolt", 1, 2), &prompt(3)).unwrap_err();
    assert!(matches!(error, StoreError::StaleRevision { stored: 2, .. }), "{error}");
}

#[test]
fn a_save_that_ended_half_way_changes_nothing() {
    let (folder, store) = store();
    store.save(&product("bolt", 1, 1), &prompt(1)).unwrap();
    let bolt = folder.path().join("products/bolt");
    fs::write(bolt.join("tensors-2.safetensors"), b"new").unwrap();
    fs::write(bolt.join(".product.toml.partial"), b"form").unwrap();
    fs::create_dir(folder.path().join("products/nut")).unwrap();
    assert_eq!(store.load("bolt", BUNDLE).unwrap(), product("bolt", 1, 1));
    let listing = store.list().unwrap();
    assert_eq!((listing.products.len(), listing.damaged.len()), (1, 0));
    store.save(&product("bolt", 1, 2), &prompt(1)).unwrap();
    assert_eq!(fs::read_dir(bolt).unwrap().count(), 3);
}

#[test]
fn numbers_are_unique_and_the_next_free_is_given() {
    let (_folder, store) = store();
    for (name, number) in [("a", 1), ("b", 2), ("c", 4)] {
        store.save(&product(name, number, 1), &prompt(1)).unwrap();
    }
    assert_eq!(store.identity("d", None, None, BUNDLE).unwrap().number, 3);
    assert_eq!(store.identity("d", Some(9), None, BUNDLE).unwrap().number, 9);
    let error = store.save(&product("d", 4, 1), &prompt(1)).unwrap_err();
    assert!(matches!(error, StoreError::NumberTaken { number: 4, .. }), "{error}");
    let error = store.save(&product("d", 0, 1), &prompt(1)).unwrap_err();
    assert!(matches!(error, StoreError::NumberZero), "{error}");
    store.remove("b").unwrap();
    assert_eq!(store.identity("d", None, None, BUNDLE).unwrap().number, 2);
    assert!(matches!(store.remove("b"), Err(StoreError::Unknown(_))));
}

#[test]
fn another_bundle_is_refused_with_the_remedy() {
    let (_folder, store) = store();
    store.save(&product("bolt", 1, 1), &prompt(1)).unwrap();
    let error = store.load("bolt", "b2").unwrap_err();
    assert!(error.to_string().contains("teach again: onenipd product calibrate bolt"), "{error}");
}

#[test]
fn a_changed_byte_is_found() {
    let (folder, store) = store();
    store.save(&product("bolt", 1, 1), &prompt(1)).unwrap();
    store.save(&product("nut", 2, 1), &prompt(1)).unwrap();
    let tensors = folder.path().join("products/bolt/tensors-1.safetensors");
    let mut bytes = fs::read(&tensors).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&tensors, bytes).unwrap();
    let error = store.load("bolt", BUNDLE).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");

    fs::write(folder.path().join("products/nut/product.toml"), "number = ").unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.products.len(), 1, "the other is still there");
    assert!(matches!(&listing.damaged[..], [StoreError::Damaged { .. }]));
    store.remove("nut").unwrap();
    assert!(store.list().unwrap().damaged.is_empty());
}

#[test]
fn thresholds_that_pass_everything_are_refused() {
    let (folder, store) = store();
    let mut one = product("bolt", 1, 1);
    one.info.thresholds.image = f32::NAN;
    assert!(matches!(store.save(&one, &prompt(1)), Err(StoreError::NotFinite { .. })));
    let mut one = product("bolt", 1, 1);
    one.tensors.insert("prompt_memory".into(), Tensor::new([1], vec![f32::INFINITY]).unwrap());
    assert!(matches!(store.save(&one, &prompt(1)), Err(StoreError::NotFinite { .. })));

    store.save(&product("bolt", 1, 1), &prompt(1)).unwrap();
    let path = folder.path().join("products/bolt/product.toml");
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.starts_with("image")).unwrap();
    fs::write(&path, text.replace(line, "image = nan")).unwrap();
    assert!(matches!(store.load("bolt", BUNDLE), Err(StoreError::NotFinite { .. })));
}

#[test]
fn names_are_folder_names_and_nothing_else() {
    let (_folder, store) = store();
    let long = "x".repeat(65);
    for name in ["", ".", "..", "../a", "a/b", "a b", "ä", ".lock", &long] {
        assert!(matches!(store.info(name), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(store.remove(name), Err(StoreError::Name(_))), "{name}");
    }
}

proptest! {
    #[test]
    fn any_thresholds_come_back_bit_by_bit(image in -1e30f32..1e30, pixel in -1e30f32..1e30) {
        let mut one = product("bolt", 1, 1);
        one.info.thresholds = Thresholds { image, pixel };
        let text = toml::to_string(&one.info).unwrap();
        prop_assert_eq!(toml::from_str::<ProductInfo>(&text).unwrap(), one.info);
    }
}

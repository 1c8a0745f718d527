#[test]
fn lab() {
    whetstone_model::tiny::write_tiny(std::path::Path::new("/tmp/lab/tiny-model"), 0).unwrap();
    whetstone_model::tiny::write_tiny(std::path::Path::new("/tmp/lab/other-model"), 1).unwrap();
}

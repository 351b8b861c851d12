//! Compiles the protobuf files without an installed `protoc` and writes their descriptors for reflection.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Reflection needs the imports; the source info carries the comments to generated code.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files([
        "lancang/v1/admin.proto",
        "lancang/v1/agents.proto",
        "lancang/v1/forecasts.proto",
        "lancang/v1/jobs.proto",
        "lancang/v1/report.proto",
        "lancang/v1/sites.proto",
        "lancang/journal/v1/record.proto",
    ])?;
    fs::write(
        out_dir.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

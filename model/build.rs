//! Compiles the kernels for NVIDIA's GPUs where feature `cuda` asks for them.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    {
        println!("cargo::rerun-if-changed=src/gpu/kernels");
        let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
        // As candle's own kernels are built: the same compiler, the same generation of GPUs.
        let files = ["fused", "attention", "attention_hopper", "delta"];
        let files = files.map(|name| format!("src/gpu/kernels/{name}.cu"));
        let kernels = cudaforge::KernelBuilder::new().source_files(files);
        // What Hopper's kernel does is in no other generation.
        let kernels = kernels.with_compute_override_arch("attention_hopper*", "90a");
        let kernels = kernels.arg("-std=c++17").arg("-O3").build_ptx();
        let written = kernels.and_then(|kernels| kernels.write(out.join("kernels.rs")));
        if let Err(error) = written {
            panic!("compiling src/gpu/kernels: {error}");
        }
    }
}

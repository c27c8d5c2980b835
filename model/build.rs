//! Compiles the kernels for NVIDIA's GPUs where feature `cuda` asks for them.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    {
        println!("cargo::rerun-if-changed=src/gpu/fused.cu");
        let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
        // As candle's own kernels are built: the same compiler, the same generation of GPUs.
        let kernels = cudaforge::KernelBuilder::new().source_files(["src/gpu/fused.cu"]);
        let kernels = kernels.arg("-std=c++17").arg("-O3").build_ptx();
        let written = kernels.and_then(|kernels| kernels.write(out.join("kernels.rs")));
        if let Err(error) = written {
            panic!("compiling src/gpu/fused.cu: {error}");
        }
    }
}

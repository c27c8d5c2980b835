//! Compiles the kernels for NVIDIA's cards where feature `cuda` asks for them.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    {
        println!("cargo::rerun-if-changed=src/card/fused.cu");
        let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
        // As candle's own kernels are built: the same compiler, the same generation of cards.
        let kernels = cudaforge::KernelBuilder::new().source_files(["src/card/fused.cu"]);
        let kernels = kernels.arg("-std=c++17").arg("-O3").build_ptx();
        let written = kernels.and_then(|kernels| kernels.write(out.join("kernels.rs")));
        if let Err(error) = written {
            panic!("compiling src/card/fused.cu: {error}");
        }
    }
}

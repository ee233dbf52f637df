//! What the processor can do.

/// The level of the instruction set of x86-64 (psABI: `x86-64-v1` to `v4`) whose programs run here; 0 on other architectures.
pub fn x86_64_level() -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let second = has!("sse3")
            && has!("ssse3")
            && has!("sse4.1")
            && has!("sse4.2")
            && has!("popcnt")
            && has!("cmpxchg16b");
        // What needs the kernel's help, as the wide registers do, counts where it has that.
        let third = has!("avx")
            && has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("f16c")
            && has!("fma")
            && has!("lzcnt")
            && has!("movbe")
            && has!("xsave");
        let fourth =
            has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
        match (second, third, fourth) {
            (true, true, true) => 4,
            (true, true, false) => 3,
            (true, false, _) => 2,
            (false, ..) => 1,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

//! Lays the program out for large pages: its code lies in memory as it lies in the file, modulo 2 MiB. Where the page cache has the
//! file in pages of that size, one fault maps as much as five hundred do otherwise, and much of a command's life is such faults.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size=2097152");
}

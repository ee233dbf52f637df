//! What the end-to-end tests share: private roots, test images, processes that clean up.

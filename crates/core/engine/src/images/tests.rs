//! Images as a whole: import, save, load, tag, remove, prune, list.

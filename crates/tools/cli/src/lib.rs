//! Every command: arguments, one or few API calls, output.

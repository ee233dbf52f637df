//! Container networks: bridge, addresses, nftables and published ports.

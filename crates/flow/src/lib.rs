//! Flow records: decoding kernel events, aggregation, rendering as data.

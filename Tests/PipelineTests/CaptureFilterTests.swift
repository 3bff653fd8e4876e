import Testing
import Tidemark

@Suite("Which tables are captured")
struct CaptureFilterTests {
    @Test(
        "a pattern stands for names: * for any text, ? for one character, and case does not count",
        arguments: [
            ("orders", "orders", true), ("Orders", "oRDERS", true), ("orders", "order", false),
            ("order", "orders", false), ("orders", "*", true), ("", "*", true), ("shop_orders", "shop_*", true),
            ("shop", "shop_*", false), ("shop_", "shop_*", true), ("order_audit", "*_audit", true),
            ("order_audit_2", "*_audit", false), ("a_audit_b_audit", "*_audit", true), ("abcabc", "*abc", true),
            ("abcab", "a*b*b", true), ("abca", "a*b*b", false), ("table1", "table?", true), ("table", "table?", false),
            ("tablé", "TABL?", true), ("É", "é", true), ("a.b", "a?b", true), ("ab", "a**b", true), ("", "?", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "*a*a*a*a*a*a*a*a*b", false), ("a[b]", "a[b]", true),
        ])
    func patterns(name: String, pattern: String, matches: Bool) {
        let filter = CaptureFilter(include: [pattern], exclude: [])
        #expect(filter.includes(name) == matches)
        #expect(CaptureFilter(include: ["*"], exclude: [pattern]).includes(name) == !matches)
    }

    @Test("what is included less what is excluded; nothing included is nothing")
    func both() {
        let filter = CaptureFilter(include: ["shop_*", "customers"], exclude: ["*_audit", "shop_tmp"])
        let tables = ["shop_orders", "customers", "shop_audit", "shop_tmp", "payments"]
        #expect(tables.filter(filter.includes) == ["shop_orders", "customers"])
        #expect(tables.filter(CaptureFilter.all.includes) == tables)
        #expect(!CaptureFilter(include: [], exclude: []).includes("orders"))
    }

    @Test("patterns are separated by commas, blanks around them do not count, and an empty one is none")
    func list() {
        #expect(CaptureFilter.patterns(" shop_* ,customers") == ["shop_*", "customers"])
        #expect(CaptureFilter.patterns("two words") == ["two words"])
        #expect(CaptureFilter.patterns("a,,b") == nil)
        #expect(CaptureFilter.patterns(" ") == nil)
    }

    @Test("a pattern that matches no table is told of")
    func complaints() {
        let filter = CaptureFilter(include: ["order*", "costumers"], exclude: ["*_audit"])
        #expect(
            filter.complaints(tables: ["orders", "customers"]) == [
                "CDC_INCLUDE has costumers, which is the name of no table of the source",
                "CDC_EXCLUDE has *_audit, which is the name of no table of the source",
            ])
        #expect(filter.complaints(tables: ["orders", "costumers", "a_audit"]).isEmpty)
        #expect(CaptureFilter.all.complaints(tables: []).isEmpty)
    }
}

/// Why a piece of text is not a value of its column's type, or a value has no text form.
///
/// The reason reads as the end of a sentence that begins with a column's name.
public struct UnreadableText: Error, Sendable, Equatable, CustomStringConvertible {
    public let reason: String

    public init(_ reason: String) { self.reason = reason }

    public var description: String { reason }

    /// Quotes at most 60 bytes of the offending text.
    @usableFromInline
    init(_ bytes: UnsafeRawBufferPointer, isNot what: String) {
        let shown = String(decoding: bytes.prefix(60), as: UTF8.self)
        reason = "'\(shown)\(bytes.count > 60 ? "…" : "")' is not \(what)"
    }
}

/// Calls `body` with the UTF-8 bytes of `text`.
@usableFromInline
func withUTF8Bytes<R>(
    of text: some StringProtocol, _ body: (UnsafeRawBufferPointer) throws(UnreadableText) -> R
) throws(UnreadableText) -> R {
    let bytes = Array(text.utf8)
    let result: Result<R, UnreadableText> = bytes.withUnsafeBytes { buffer in
        do throws(UnreadableText) { return .success(try body(buffer)) } catch { return .failure(error) }
    }
    return try result.get()
}

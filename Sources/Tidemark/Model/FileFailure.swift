import Foundation

/// Says why a file operation failed.
package enum FileFailure {
    /// The system's own words where there are any, such as "Permission denied": Foundation's often only say that it
    /// did not work.
    package static func reason(_ error: any Error) -> String {
        let error = error as NSError
        let underlying = error.userInfo[NSUnderlyingErrorKey].flatMap { $0 as? any Error }.map { $0 as NSError }
        for case let candidate? in [error, underlying] where candidate.domain == NSPOSIXErrorDomain {
            return String(cString: strerror(Int32(candidate.code)))
        }
        return error.localizedDescription
    }
}

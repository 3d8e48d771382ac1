// Addresses: where a request may go, and where the token may go with it.
#pragma once

#include <string>
#include <string_view>

namespace hearth::hub {

// Scheme, host and port, in small letters: "https://huggingface.co:443". Two addresses of one origin belong to the same
// server (RFC 6454). Throws Error(format): no address of http or https, one with a name and a password.
std::string origin_of(const std::string& url);

// The host alone, for messages: addresses of content servers carry signatures that are nobody's business.
std::string host_of(const std::string& url);

// Whether what is sent there stays on this machine: localhost, 127.0.0.0/8, ::1.
bool is_loopback(const std::string& url);

// Where `location`, absolute or relative, leads from `url` (RFC 3986, section 5). Throws Error(format): nowhere, to
// another scheme than http and https, or from https to http.
std::string follow(const std::string& url, const std::string& location);

// Each byte but letters, digits and -._~ as %XX; slashes stay where they part the components of a path.
std::string percent_encoded(std::string_view text, bool keep_slashes);

}  // namespace hearth::hub

"use strict";
// Gives every request of this page that changes something the token that other sites cannot read.
{
  const token = document.querySelector("meta[name=tokenswarm-token]").content;
  const plainFetch = window.fetch;
  window.fetch = (input, init) => {
    const request = new Request(input, init);
    const isOurs = new URL(request.url).origin === location.origin;
    if (isOurs && !["GET", "HEAD"].includes(request.method)) request.headers.set("X-Tokenswarm-Token", token);
    return plainFetch(request);
  };
}

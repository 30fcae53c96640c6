"use strict";
// No validator is asked: it would be told the URL of this hub. The token is kept in the page, and nowhere else.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  tryItOutEnabled: true,
  withCredentials: false,
});

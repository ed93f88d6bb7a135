// Swagger UI is loaded before this, as a global. Its validator elsewhere is left out.
globalThis.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});

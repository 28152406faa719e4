// Shows the OpenAPI document with Swagger UI.
const { document: url } = document.querySelector("#swagger-ui").dataset;

SwaggerUIBundle({ url, dom_id: "#swagger-ui", deepLinking: true });

// Calls every operation of the service at the address in the first argument, with a client that
// openapi-typescript and openapi-fetch make of its document. Prints the status codes by operation.
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./schema";

declare const process: { argv: string[] };

type Product = components["schemas"]["Product"];
type Answer = { data?: unknown; response: Response };

const client = createClient<paths>({ baseUrl: process.argv[2] });
const kettle = { name: "Kettle", img_url: "https://img.example.com/kettle.jpg", price: 49.95 };
const at = (product: Product) => ({ path: { id: product.id } });

function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

async function created(price: number): Promise<Product> {
  const { data, error } = await client.POST("/products", { body: { ...kettle, price } });
  assert(data !== undefined, `not created: ${error?.detail}`);
  return data;
}

const dear = await created(59.95);
const cheap = await created(19.95);

// A missing operation is an error of the compiler.
const calls: Record<keyof operations, () => Promise<Answer>> = {
  createProduct: () => client.POST("/products", { body: kettle }),
  listProducts: () =>
    client.GET("/products", {
      params: { query: { status: ["active"], id: [dear.id, cheap.id], sort: ["status", "price"] } },
    }),
  getFacets: () =>
    client.GET("/products/facets", { params: { query: { status: ["active"] } } }),
  getProduct: () => client.GET("/products/{id}", { params: at(dear) }),
  replaceProduct: () => client.PUT("/products/{id}", { params: at(dear), body: kettle }),
  updateProduct: () =>
    client.PATCH("/products/{id}", { params: at(cheap), body: { category: "Kitchen" } }),
  deleteProduct: () => client.DELETE("/products/{id}", { params: at(cheap) }),
  exportProductsAsCsv: () =>
    client.GET("/products.csv", { params: { query: { dialect: "excel" } }, parseAs: "text" }),
  exportProductsAsJsonLines: () =>
    client.GET("/products.jsonl", { params: { query: { id: [dear.id] } }, parseAs: "text" }),
  importProducts: () =>
    client.POST("/products/import", {
      params: { query: { dry_run: true } },
      body: `id,price\n${dear.id},5\n`,
      bodySerializer: (file) => file,
      headers: { "Content-Type": "text/csv" },
    }),
  listChanges: () => client.GET("/products/changes", { params: { query: { limit: 10 } } }),
  listHistory: () =>
    client.GET("/products/history", { params: { query: { id: dear.id, op: "update" } } }),
  getLowestPrice: () => client.GET("/products/{id}/lowest-price", { params: at(dear) }),
  getHealth: () => client.GET("/health"),
  getReadiness: () => client.GET("/readyz"),
  getMetrics: () => client.GET("/metrics", { parseAs: "text" }),
  getOpenApi: () => client.GET("/openapi.json"),
  getApiDocs: () => client.GET("/apidocs", { parseAs: "text" }),
  getService: () => client.GET("/"),
};

const listed = (await calls.listProducts()).data as Product[];
assert(listed.map(({ id }) => id).join() === `${cheap.id},${dear.id}`, "sort has no effect");

const { error } = await client.GET("/products/{id}", { params: { path: { id: 2147483647 } } });
assert(error?.status === 404, "the error is no problem document");

const codes: Record<string, number> = {};
for (const [name, call] of Object.entries(calls)) codes[name] = (await call()).response.status;
console.log(JSON.stringify(codes));

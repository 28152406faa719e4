// Fastify in its own tuned idiom: pg with named prepared statements, answers by response schema.
import Fastify from 'fastify'
import pg from 'pg'

const NUMERIC = 1700
pg.types.setTypeParser(NUMERIC, Number)

const text = { type: 'string' }
const textOrNull = { type: ['string', 'null'] }
const integer = { type: 'integer' }
const product = {
  type: 'object',
  properties: {
    id: integer,
    name: text,
    img_url: text,
    description: textOrNull,
    price: { type: 'number' },
    rating: integer,
    category: textOrNull,
    status: text
  }
}
const newProduct = {
  type: 'object',
  required: ['name', 'img_url', 'price'],
  additionalProperties: false,
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 255 },
    img_url: { type: 'string', minLength: 1, maxLength: 2048 },
    description: { type: ['string', 'null'], maxLength: 10000, default: null },
    price: { type: 'number', minimum: 0, maximum: 9999999999.99 },
    rating: { type: 'integer', minimum: 0, maximum: 2147483647, default: 0 },
    category: { type: ['string', 'null'], maxLength: 255, default: null },
    status: { type: 'string', enum: ['active', 'inactive', 'disabled'], default: 'active' }
  }
}
const page = {
  type: 'object',
  required: ['limit'],
  properties: {
    limit: { type: 'integer', minimum: 1, maximum: 1000 },
    cursor: { type: 'integer', default: 0 },
    category: text,
    status: text,
    sort: { type: 'string', enum: ['id', '-price'], default: 'id' }
  }
}

const COLUMNS = 'id, name, img_url, description, price, rating, category, status'
const READ = `SELECT ${COLUMNS} FROM products WHERE id = $1`
const CREATE = `INSERT INTO products (name, img_url, description, price, rating, category, status)
  VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING ${COLUMNS}`

// The place of the database is in libpq's environment variables.
const pool = new pg.Pool({ max: 8 })
const app = Fastify()

app.get('/products/:id', { schema: { response: { 200: product } } }, async (request, reply) => {
  const { rows } = await pool.query({ name: 'read', text: READ, values: [request.params.id] })
  return rows[0] ?? reply.code(404).send()
})

app.get(
  '/products',
  { schema: { querystring: page, response: { 200: { type: 'array', items: product } } } },
  async (request, reply) => {
    const { limit, cursor, category, status, sort } = request.query
    const values = [limit + 1]
    const conditions = []
    if (cursor) conditions.push(`id > $${values.push(cursor)}`)
    if (category !== undefined) conditions.push(`fold(category) = fold($${values.push(category)})`)
    if (status !== undefined) conditions.push(`status = $${values.push(status)}`)
    const where = conditions.length ? `WHERE ${conditions.join(' AND ')}` : ''
    const order = sort === '-price' ? 'price DESC, id' : 'id'
    const statement = `SELECT ${COLUMNS} FROM products ${where} ORDER BY ${order} LIMIT $1`
    const name = `page ${conditions.join(' ')} ${order}`
    const { rows } = await pool.query({ name, text: statement, values })
    if (rows.length > limit) {
      rows.pop()
      const following = new URL(request.url, `http://${request.headers.host}`)
      following.searchParams.set('cursor', rows.at(-1).id)
      reply.header('Link', `<${following}>; rel="next"`)
    }
    return rows
  }
)

app.post(
  '/products',
  { schema: { body: newProduct, response: { 201: product } } },
  async (request, reply) => {
    const { name, img_url, description, price, rating, category, status } = request.body
    const values = [name, img_url, description, price, rating, category, status]
    const { rows } = await pool.query({ name: 'create', text: CREATE, values })
    return reply.code(201).header('Location', `/products/${rows[0].id}`).send(rows[0])
  }
)

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })

"""How gunicorn serves the app: uvicorn speaks HTTP, a thread pool runs the WSGI app."""
